//! Equality, order and membership, as the CEL specification defines them.
//!
//! Numbers of all types lie on one line and compare by their exact value: 2^53 + 1 as an int is greater than 2^53 as a
//! double, although converting it to double would make them equal.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use crate::ErrorCode;
use crate::datum::Datum;
use crate::literal::Literal;

/// Maps with more entries than this are compared by way of a hash table.
const LINEAR: i64 = 16;

/// 2^63 and 2^64 as doubles; both are exact.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// `left == right`. Values of different types are unequal; that is no error.
pub(crate) fn equal(left: &Datum<'_>, right: &Datum<'_>) -> Result<bool, ErrorCode> {
    Ok(match (left, right) {
        (Datum::Null, Datum::Null) => true,
        (Datum::Bool(left), Datum::Bool(right)) => left == right,
        (Datum::Str(left), Datum::Str(right)) => left == right,
        (Datum::Bytes(left), Datum::Bytes(right)) => left == right,
        (Datum::Type(left), Datum::Type(right)) => left == right,
        _ if left.is_list() && right.is_list() => return equal_lists(left, right),
        _ if left.is_map() && right.is_map() => return equal_maps(left, right),
        _ => numeric_order(left, right) == Some(Some(Ordering::Equal)),
    })
}

/// The order of `left` and `right`; `None` where a NaN makes every comparison false.
pub(crate) fn order(left: &Datum<'_>, right: &Datum<'_>) -> Result<Option<Ordering>, ErrorCode> {
    match (left, right) {
        (Datum::Bool(left), Datum::Bool(right)) => Ok(Some(left.cmp(right))),
        (Datum::Str(left), Datum::Str(right)) => Ok(Some(left.cmp(right))),
        (Datum::Bytes(left), Datum::Bytes(right)) => Ok(Some(left.cmp(right))),
        _ => numeric_order(left, right).ok_or(ErrorCode::TypeMismatch),
    }
}

/// `element in container`: an element of a list, a key of a map.
pub(crate) fn contains(container: &Datum<'_>, element: &Datum<'_>) -> Result<bool, ErrorCode> {
    if let Datum::Literal(Literal::List(items)) = container {
        for item in items {
            if equal(element, &item.into())? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if container.is_list() {
        let mut found = false;
        container.each_element(&mut |item| {
            found = equal(element, &item)?;
            Ok(!found)
        })?;
        return Ok(found);
    }
    if !container.is_map() {
        return Err(ErrorCode::TypeMismatch);
    }
    lookup(container, element).map(|value| value.is_some())
}

/// The value of `key` in a map.
pub(crate) fn lookup<'a>(map: &Datum<'a>, key: &Datum<'_>) -> Result<Option<Datum<'a>>, ErrorCode> {
    if let Datum::Headers(headers) = map {
        let Datum::Str(key) = key else { return no_key_of_type(key) };
        let last = headers.iter().rev().find(|(name, _)| *name == key.as_ref());
        return Ok(last.map(|(_, value)| Datum::text_or_bytes(*value)));
    }
    if !matches!(key, Datum::Str(_) | Datum::Int(_) | Datum::Uint(_) | Datum::Double(_) | Datum::Bool(_)) {
        return Err(ErrorCode::TypeMismatch);
    }
    let mut found = None;
    map.each_entry(&mut |name, value| {
        if equal(&name, key)? {
            found = Some(value);
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

fn no_key_of_type<T>(key: &Datum<'_>) -> Result<Option<T>, ErrorCode> {
    match key {
        Datum::Int(_) | Datum::Uint(_) | Datum::Double(_) | Datum::Bool(_) => Ok(None),
        _ => Err(ErrorCode::TypeMismatch),
    }
}

fn equal_lists(left: &Datum<'_>, right: &Datum<'_>) -> Result<bool, ErrorCode> {
    match (left, right) {
        // The two that can be long and are not at hand by position are walked side by side.
        (Datum::JsonList(left), _) => {
            let mut items = crate::json::elements(left);
            let mut same = true;
            right.each_element(&mut |right| {
                same = match items.next() {
                    Some(left) => equal(&left?, &right)?,
                    None => false,
                };
                Ok(same)
            })?;
            Ok(same && items.next().is_none())
        }
        (_, Datum::JsonList(_)) => equal_lists(right, left),
        _ => {
            let mut items = Vec::new();
            left.each_element(&mut |item| {
                items.push(item);
                Ok(true)
            })?;
            let mut items = items.into_iter();
            let mut same = true;
            right.each_element(&mut |right| {
                same = match items.next() {
                    Some(left) => equal(&left, &right)?,
                    None => false,
                };
                Ok(same)
            })?;
            Ok(same && items.next().is_none())
        }
    }
}

fn equal_maps(left: &Datum<'_>, right: &Datum<'_>) -> Result<bool, ErrorCode> {
    let count = left.count()?;
    if count != right.count()? {
        return Ok(false);
    }
    let mut same = true;
    if count <= LINEAR {
        left.each_entry(&mut |key, value| {
            same = match lookup(right, &key)? {
                Some(other) => equal(&value, &other)?,
                None => false,
            };
            Ok(same)
        })?;
        return Ok(same);
    }
    let named = by_name(right)?;
    left.each_entry(&mut |key, value| {
        let other = match &key {
            Datum::Str(name) => named.get(name.as_ref()).cloned(),
            _ => lookup(right, &key)?,
        };
        same = match other {
            Some(other) => equal(&value, &other)?,
            None => false,
        };
        Ok(same)
    })?;
    Ok(same)
}

/// The entries of a map that have a string for a key.
fn by_name<'a>(map: &Datum<'a>) -> Result<HashMap<Cow<'a, str>, Datum<'a>>, ErrorCode> {
    let mut named = HashMap::new();
    map.each_entry(&mut |key, value| {
        if let Datum::Str(name) = key {
            named.insert(name, value);
        }
        Ok(true)
    })?;
    Ok(named)
}

/// The order of two numbers: `None` when one is no number, `Some(None)` when one is NaN.
fn numeric_order(left: &Datum<'_>, right: &Datum<'_>) -> Option<Option<Ordering>> {
    Some(match (left, right) {
        (Datum::Int(left), Datum::Int(right)) => Some(left.cmp(right)),
        (Datum::Uint(left), Datum::Uint(right)) => Some(left.cmp(right)),
        (Datum::Double(left), Datum::Double(right)) => left.partial_cmp(right),
        (Datum::Int(left), Datum::Uint(right)) => Some(int_to_uint(*left, *right)),
        (Datum::Uint(left), Datum::Int(right)) => Some(int_to_uint(*right, *left).reverse()),
        (Datum::Int(left), Datum::Double(right)) => int_to_double(*left, *right),
        (Datum::Double(left), Datum::Int(right)) => int_to_double(*right, *left).map(Ordering::reverse),
        (Datum::Uint(left), Datum::Double(right)) => uint_to_double(*left, *right),
        (Datum::Double(left), Datum::Uint(right)) => uint_to_double(*right, *left).map(Ordering::reverse),
        _ => return None,
    })
}

fn int_to_uint(int: i64, uint: u64) -> Ordering {
    u64::try_from(int).map_or(Ordering::Less, |int| int.cmp(&uint))
}

fn int_to_double(int: i64, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double >= TWO_63 {
        return Some(Ordering::Less);
    }
    if double < -TWO_63 {
        return Some(Ordering::Greater);
    }
    // The double is within i64 now, so its whole part converts exactly; its fraction decides between equals.
    let whole = double.trunc();
    let fraction = 0.0.partial_cmp(&(double - whole));
    Some(int.cmp(&(whole as i64)).then(fraction.unwrap_or(Ordering::Equal)))
}

fn uint_to_double(uint: u64, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double >= TWO_64 {
        return Some(Ordering::Less);
    }
    if double < 0.0 {
        return Some(Ordering::Greater);
    }
    let whole = double.trunc();
    let fraction = 0.0.partial_cmp(&(double - whole));
    Some(uint.cmp(&(whole as u64)).then(fraction.unwrap_or(Ordering::Equal)))
}
