//! The headers of a message, which outlive it.

use std::ops::ControlFlow;

/// Says of a value that there is none; no header is as long.
const ABSENT: u32 = u32::MAX;
/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

/// A copy of a list of headers in one piece of memory: per header the length of its name, that of its value, and both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Box<[u8]>);

impl Headers {
    /// Collects headers; `scratch` is room that is used again.
    pub(crate) fn collect(scratch: &mut Vec<u8>, list: impl FnOnce(&mut dyn FnMut(&[u8], Option<&[u8]>))) -> Self {
        scratch.clear();
        list(&mut |name, value| {
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(ABSENT - 1);
            let (name_length, value_length) = (length(name), value.map_or(ABSENT, length));
            scratch.extend_from_slice(&name_length.to_ne_bytes());
            scratch.extend_from_slice(&value_length.to_ne_bytes());
            scratch.extend_from_slice(name);
            scratch.extend_from_slice(value.unwrap_or_default());
        });
        Self(scratch.as_slice().into())
    }

    /// Calls `each` with name and value of every header, in the order of the record.
    pub fn each(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut rest = &*self.0;
        while let ControlFlow::Continue(left) = next(rest, &mut each) {
            rest = left;
        }
    }
}

/// Calls `each` with the first header; gives what follows it.
fn next<'a>(rest: &'a [u8], each: &mut impl FnMut(&[u8], Option<&[u8]>)) -> ControlFlow<(), &'a [u8]> {
    let Some((name_length, rest)) = length(rest) else { return ControlFlow::Break(()) };
    let Some((value_length, rest)) = length(rest) else { return ControlFlow::Break(()) };
    let Some((name, rest)) = rest.split_at_checked(name_length as usize) else { return ControlFlow::Break(()) };
    if value_length == ABSENT {
        each(name, None);
        return ControlFlow::Continue(rest);
    }
    let Some((value, rest)) = rest.split_at_checked(value_length as usize) else { return ControlFlow::Break(()) };
    each(name, Some(value));
    ControlFlow::Continue(rest)
}

fn length(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (length, rest) = rest.split_first_chunk::<LENGTH>()?;
    Some((u32::from_ne_bytes(*length), rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
    use super::*;

    #[test]
    fn headers_read_back_in_order_with_absent_and_empty_values_apart() {
        let given: [(&[u8], Option<&[u8]>); 4] =
            [(b"one", Some(b"value")), (b"", None), (b"\xff\x00", Some(b"")), (b"one", Some(&[7; 300]))];
        let headers =
            Headers::collect(&mut vec![1, 2, 3], |push| given.iter().for_each(|(name, value)| push(name, *value)));
        let mut found = Vec::new();
        headers.each(|name, value| found.push((name.to_vec(), value.map(<[u8]>::to_vec))));
        let expected: Vec<_> = given.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
        assert_eq!(found, expected);
    }
}
