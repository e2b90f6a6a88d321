//! Records that wait until they may be sent, copied into one place.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::Arc;

use crate::sender::Record;

/// Headers of one record beyond which the list of its headers is allocated.
const FEW: usize = 8;

/// A header as it is sent: its name, and a value that may be absent.
pub type Header<'a> = (&'a CStr, Option<&'a [u8]>);

/// Records in the order in which they came. Reused: clearing it keeps the memory.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Names, keys and values; each name ends with a NUL.
    bytes: Vec<u8>,
    /// Topics from the first record that went there.
    topics: Vec<Arc<CStr>>,
    /// Names and values in `bytes`.
    headers: Vec<(usize, Option<Range<usize>>)>,
    records: Vec<Waiting>,
}

/// One record; its parts lie in the vectors of the bundle.
#[derive(Debug)]
struct Waiting {
    topic: usize,
    partition: i32,
    timestamp: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

impl Bundle {
    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes the records take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes it could take without asking for memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets all records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.topics.clear();
        self.headers.clear();
        self.records.clear();
    }

    /// Adds a record for a topic, which is that of the record; `headers` are its headers. A name ends where it has a NUL.
    pub fn push<'a>(
        &mut self,
        topic: &Arc<CStr>,
        record: &Record<'_>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) {
        let first = self.headers.len();
        for (name, value) in headers {
            let start = self.copy(name).start;
            self.bytes.push(0);
            let value = value.map(|value| self.copy(value));
            self.headers.push((start, value));
        }
        // Records for one topic follow each other.
        let known = self.topics.iter().rposition(|known| Arc::ptr_eq(known, topic));
        let topic = known.unwrap_or_else(|| {
            self.topics.push(Arc::clone(topic));
            self.topics.len() - 1
        });
        let key = record.key.map(|key| self.copy(key));
        let value = record.value.map(|value| self.copy(value));
        let Record { partition, timestamp, .. } = *record;
        let headers = first..self.headers.len();
        self.records.push(Waiting { topic, partition, timestamp, key, value, headers });
    }

    /// Calls `f` with a record; `None` if there is none of this number.
    pub fn with<R>(&self, number: usize, f: impl FnOnce(&Record<'_>) -> R) -> Option<R> {
        let Waiting { topic, partition, timestamp, key, value, headers } = self.records.get(number)?;
        let topic = self.topics.get(*topic)?;
        let lying = self.headers.get(headers.clone())?;
        let header = |(name, value): &(usize, Option<Range<usize>>)| {
            let name =
                self.bytes.get(*name..).and_then(|name| CStr::from_bytes_until_nul(name).ok()).unwrap_or_default();
            (name, self.part(value))
        };
        let mut few: [Header<'_>; FEW] = [(c"", None); FEW];
        let many: Vec<Header<'_>>;
        let headers: &[Header<'_>] = if let Some(few) = few.get_mut(..lying.len()) {
            few.iter_mut().zip(lying).for_each(|(place, lying)| *place = header(lying));
            few
        } else {
            many = lying.iter().map(header).collect();
            &many
        };
        let (key, value) = (self.part(key), self.part(value));
        Some(f(&Record { topic, partition: *partition, key, value, timestamp: *timestamp, headers }))
    }

    fn copy(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        start..self.bytes.len()
    }

    fn part(&self, range: &Option<Range<usize>>) -> Option<&[u8]> {
        self.bytes.get(range.clone()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let topics: [Arc<CStr>; 2] = [c"one".into(), c"two".into()];
        let headers: Vec<(&[u8], Option<&[u8]>)> = vec![(b"a", Some(b"1\0")), (b"", Some(b"")), (b"a", None)];
        let mut bundle = Bundle::default();
        for round in 0..2 {
            for number in 0..100_i32 {
                let topic = &topics[usize::from(number % 3 == 0)];
                let text = number.to_string();
                let key = (number % 2 == 0).then_some(text.as_bytes());
                let value = [None, Some(b"".as_slice()), Some(text.as_bytes())][number as usize % 3];
                let record = Record { topic, partition: number - 1, key, value, timestamp: 7, headers: &[] };
                let repeated = headers.iter().cycle().take(number as usize % 12).copied();
                bundle.push(topic, &record, repeated);
            }
            for number in 0..100_i32 {
                let text = number.to_string();
                bundle.with(number as usize, |record| {
                    assert_eq!(record.topic, &*topics[usize::from(number % 3 == 0)]);
                    assert_eq!((record.partition, record.timestamp), (number - 1, 7));
                    assert_eq!(record.key, (number % 2 == 0).then_some(text.as_bytes()));
                    assert_eq!(record.value, [None, Some(b"".as_slice()), Some(text.as_bytes())][number as usize % 3]);
                    let found: Vec<_> = record.headers.iter().map(|(name, value)| (name.to_bytes(), *value)).collect();
                    assert_eq!(found, headers.iter().cycle().take(number as usize % 12).copied().collect::<Vec<_>>());
                });
            }
            assert_eq!((bundle.len(), bundle.is_empty(), bundle.with(100, |_| ())), (100, false, None), "{round}");
            bundle.clear();
            assert_eq!((bundle.len(), bundle.bytes(), bundle.with(0, |_| ())), (0, 0, None));
        }
    }
}
