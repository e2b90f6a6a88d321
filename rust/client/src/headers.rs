//! The headers of a message, which outlive it.

use std::ops::Range;
use std::sync::Arc;

/// Says of a value that there is none; no header is as long.
const ABSENT: u32 = u32::MAX;
/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

/// Name and value, if there is one.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// A copy of a list of headers, in a piece of memory that many share: per header the length of its name, that of its value,
/// and both.
#[derive(Clone, Debug)]
pub struct Headers {
    shared: Arc<[u8]>,
    place: Range<usize>,
}

impl Headers {
    /// The headers at a place where `collect` or `parse` has put them.
    pub fn at(shared: &Arc<[u8]>, place: Range<usize>) -> Self {
        Self { shared: Arc::clone(shared), place }
    }

    /// Adds headers to what is to be shared; gives their place.
    pub(crate) fn collect(
        shared: &mut Vec<u8>,
        list: impl FnOnce(&mut dyn FnMut(&[u8], Option<&[u8]>)),
    ) -> Range<usize> {
        let start = shared.len();
        list(&mut |name, value| push(shared, name, value));
        start..shared.len()
    }

    /// Adds headers as they stand in a record of the protocol (message format 2): their number, and for each the length of
    /// its name, the name, the length of its value, -1 for none, and the value; numbers are zigzag varints. As in
    /// librdkafka's own list a name ends at its first NUL. `None` for anything else, for which librdkafka is to be asked;
    /// nothing was added then.
    pub(crate) fn parse(shared: &mut Vec<u8>, record: &[u8]) -> Option<Range<usize>> {
        let start = shared.len();
        let is_list = Self::parse_to(shared, record).is_some();
        if !is_list {
            shared.truncate(start);
        }
        is_list.then_some(start..shared.len())
    }

    fn parse_to(shared: &mut Vec<u8>, record: &[u8]) -> Option<()> {
        let mut rest = record;
        for _ in 0..varint(&mut rest)? {
            let length = usize::try_from(varint(&mut rest)?).ok()?;
            let name = rest.split_off(..length)?.split(|byte| *byte == 0).next().unwrap_or_default();
            let value = match varint(&mut rest)? {
                -1 => None,
                length => Some(rest.split_off(..usize::try_from(length).ok()?)?),
            };
            push(shared, name, value);
        }
        rest.is_empty().then_some(())
    }

    /// Name and value of every header, in the order of the record.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        let mut rest = self.shared.get(self.place.clone()).unwrap_or_default();
        std::iter::from_fn(move || {
            let (header, left) = split(rest)?;
            rest = left;
            Some(header)
        })
    }
}

/// The first header, and what follows it.
fn split(rest: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let (name_length, rest) = length(rest)?;
    let (value_length, rest) = length(rest)?;
    let (name, rest) = rest.split_at_checked(name_length as usize)?;
    if value_length == ABSENT {
        return Some(((name, None), rest));
    }
    let (value, rest) = rest.split_at_checked(value_length as usize)?;
    Some(((name, Some(value)), rest))
}

fn push(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    // A record is shorter than 2 GiB, so are its parts.
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(ABSENT - 1);
    let (name_length, value_length) = (length(name), value.map_or(ABSENT, length));
    out.extend_from_slice(&name_length.to_ne_bytes());
    out.extend_from_slice(&value_length.to_ne_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value.unwrap_or_default());
}

/// A zigzag varint of at most 32 bits, which is taken off the front.
fn varint(rest: &mut &[u8]) -> Option<i32> {
    let mut number = 0u64;
    for shift in (0..5).map(|place| 7 * place) {
        let byte = *rest.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let number = u32::try_from(number).ok()?;
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

fn length(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (length, rest) = rest.split_first_chunk::<LENGTH>()?;
    Some((u32::from_ne_bytes(*length), rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
    use super::*;

    type Pairs<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

    #[test]
    fn headers_read_back_in_order_with_absent_and_empty_values_apart() {
        let given: [(&[u8], Option<&[u8]>); 4] =
            [(b"one", Some(b"value")), (b"", None), (b"\xff\x00", Some(b"")), (b"one", Some(&[7; 300]))];
        let mut shared = vec![1, 2, 3];
        let place = Headers::collect(&mut shared, |push| given.iter().for_each(|(name, value)| push(name, *value)));
        let found = read(&Headers::at(&shared.into(), place));
        let expected: Vec<_> = given.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
        assert_eq!(found, expected);
    }

    fn read(headers: &Headers) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        headers.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn headers_of_a_record_are_read_as_the_protocol_has_them() {
        let long = [vec![2, 2, b'n', 0x90, 0x03], vec![5; 200]].concat();
        let cases: [(&[u8], Pairs<'_>); 5] = [
            (&[0], vec![]),
            (&[4, 2, b'a', 4, b'x', b'y', 0, 0], vec![(b"a", Some(b"xy")), (b"", Some(b""))]),
            (&[2, 2, b'a', 1], vec![(b"a", None)]),
            (&[2, 6, b'a', 0, b'b', 2, 0], vec![(b"a", Some(b"\0"))]),
            (&long, vec![(b"n", Some(&[5; 200]))]),
        ];
        for (record, expected) in cases {
            let mut shared = vec![9];
            let place = Headers::parse(&mut shared, record).unwrap();
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
            assert_eq!(read(&Headers::at(&shared.into(), place)), expected, "{record:?}");
        }
    }

    #[test]
    fn whatever_is_no_list_of_headers_is_refused() {
        let broken: [&[u8]; 9] = [
            &[],
            &[2],
            &[2, 2],
            &[2, 2, b'a'],
            &[2, 2, b'a', 4, b'x'],
            &[2, 2, b'a', 2, b'x', b'y'],
            &[2, 1, b'a', 0],
            &[2, 2, b'a', 3],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ];
        for record in broken {
            let mut shared = vec![9];
            assert_eq!((Headers::parse(&mut shared, record), shared), (None, vec![9]), "{record:?}");
        }
    }
}
