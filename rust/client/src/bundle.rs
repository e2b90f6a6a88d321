//! Records that wait until they may be sent, copied into one place.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::Arc;

use crate::sender::Record;

/// Records in the order in which they came. Reused: clearing it keeps the memory.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Names, keys and values. INVARIANT (terminated): a NUL follows each name.
    bytes: Vec<u8>,
    /// Topics from the first record that went there.
    topics: Vec<Arc<CStr>>,
    /// Names and values in `bytes`.
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
    records: Vec<Waiting>,
}

/// A record where it lies in a bundle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lying<'a> {
    record: &'a Waiting,
    bundle: &'a Bundle,
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
            let name = self.copy(name);
            self.bytes.push(0);
            let value = value.map(|value| self.copy(value));
            self.headers.push((name, value));
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

    /// The record of this number, if there is one.
    pub(crate) fn get(&self, number: usize) -> Option<Lying<'_>> {
        Some(Lying { record: self.records.get(number)?, bundle: self })
    }

    /// The topics, by the numbers that records have for them.
    pub(crate) fn topics(&self) -> &[Arc<CStr>] {
        &self.topics
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

impl<'a> Lying<'a> {
    /// Number of its topic.
    pub(crate) fn topic(self) -> usize {
        self.record.topic
    }

    /// Partition and timestamp as in a [`Record`].
    pub(crate) fn numbers(self) -> (i32, i64) {
        (self.record.partition, self.record.timestamp)
    }

    /// Key.
    pub(crate) fn key(self) -> Option<&'a [u8]> {
        self.bundle.part(&self.record.key)
    }

    /// Value.
    pub(crate) fn value(self) -> Option<&'a [u8]> {
        self.bundle.part(&self.record.value)
    }

    /// Headers; a NUL follows each name in memory.
    pub(crate) fn headers(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let headers = self.bundle.headers.get(self.record.headers.clone()).unwrap_or_default();
        headers
            .iter()
            .filter_map(move |(name, value)| Some((self.bundle.bytes.get(name.clone())?, self.bundle.part(value))))
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)] // A test fails by panicking.
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
                let record = Record { topic, partition: number - 1, key, value, timestamp: 7 };
                let repeated = headers.iter().cycle().take(number as usize % 12).copied();
                bundle.push(topic, &record, repeated);
            }
            for number in 0..100_i32 {
                let text = number.to_string();
                let lying = bundle.get(number as usize).unwrap();
                assert_eq!(bundle.topics()[lying.topic()], topics[usize::from(number % 3 == 0)]);
                assert_eq!(lying.numbers(), (number - 1, 7));
                assert_eq!(lying.key(), (number % 2 == 0).then_some(text.as_bytes()));
                assert_eq!(lying.value(), [None, Some(b"".as_slice()), Some(text.as_bytes())][number as usize % 3]);
                assert!(lying.headers().eq(headers.iter().cycle().take(number as usize % 12).copied()));
                // SAFETY: the byte after a name lies within the bundle.
                assert!(lying.headers().all(|(name, _)| unsafe { *name.as_ptr_range().end } == 0));
            }
            assert_eq!((bundle.len(), bundle.is_empty(), bundle.get(100).is_none()), (100, false, true), "{round}");
            bundle.clear();
            assert_eq!((bundle.len(), bundle.bytes(), bundle.get(0).is_none()), (0, 0, true));
        }
    }
}
