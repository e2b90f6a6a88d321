//! The ids that one issuer gave in one epoch: in which order they may stand, and that none stands twice.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::id::ReceiptId;

/// What is known of the ids of an epoch.
#[derive(Debug, Default)]
pub(super) struct EpochIds {
    /// The largest id of a batch of mode `recorded`.
    last_recorded: Option<ReceiptId>,
    counters: Counters,
}

impl EpochIds {
    /// Takes the next id of a batch, which has the tag of this epoch. `before` is the one that precedes it in the batch.
    ///
    /// # Errors
    /// Says what is wrong with it; it is taken all the same.
    pub(super) fn take(
        &mut self,
        id: ReceiptId,
        before: Option<ReceiptId>,
        is_recorded: bool,
    ) -> Result<(), &'static str> {
        let is_new = self.counters.insert(id.counter());
        let follows = before.is_none_or(|before| before < id);
        let ascends = !is_recorded || self.last_recorded.is_none_or(|last| last < id);
        if is_recorded {
            self.last_recorded = self.last_recorded.max(Some(id));
        }
        match () {
            () if !is_new => Err("stands in this epoch already"),
            () if !follows => Err("is not above the one before it in its batch"),
            () if !ascends => Err("is not above those of the recorded batches before it"),
            () => Ok(()),
        }
    }
}

/// A set of counters. They are nearly dense, so it is kept as intervals that neither overlap nor touch.
#[derive(Debug, Default)]
struct Counters {
    /// The interval of the largest counters, where nearly all are added.
    last: Range<u64>,
    /// The intervals below it: start to end.
    below: BTreeMap<u64, u64>,
}

impl Counters {
    /// Adds a counter; false if it was there.
    fn insert(&mut self, counter: u64) -> bool {
        if counter == self.last.end {
            self.last.end += 1;
            return true;
        }
        if counter > self.last.end {
            let last = std::mem::replace(&mut self.last, counter..counter + 1);
            if !last.is_empty() {
                self.below.insert(last.start, last.end);
            }
            return true;
        }
        if counter >= self.last.start {
            return false;
        }
        self.insert_below(counter)
    }

    fn insert_below(&mut self, counter: u64) -> bool {
        let before = self.below.range(..=counter).next_back().map(|(start, end)| (*start, *end));
        if before.is_some_and(|(_, end)| end > counter) {
            return false;
        }
        let start = before.filter(|(_, end)| *end == counter).map_or(counter, |(start, _)| start);
        let mut end = counter + 1;
        if let Some(joined) = self.below.remove(&end) {
            end = joined;
        }
        if end == self.last.start {
            self.below.remove(&start);
            self.last.start = start;
        } else {
            self.below.insert(start, end);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dense_counters_are_one_interval_and_gaps_are_closed() {
        let mut counters = Counters::default();
        assert!((0..10).chain(20..30).all(|counter| counters.insert(counter)));
        assert_eq!((counters.last.clone(), counters.below.len()), (20..30, 1));
        assert!((10..20).rev().all(|counter| counters.insert(counter)));
        assert_eq!((counters.last.clone(), counters.below.len()), (0..30, 0));
    }

    proptest! {
        #[test]
        fn membership_is_that_of_a_plain_set(given in prop::collection::vec(0u64..200, 0..400)) {
            let (mut counters, mut set) = (Counters::default(), BTreeSet::new());
            for counter in given {
                prop_assert_eq!(counters.insert(counter), set.insert(counter));
                let below: u64 = counters.below.iter().map(|(start, end)| end - start).sum();
                prop_assert_eq!(below + counters.last.end - counters.last.start, set.len() as u64);
            }
        }
    }
}
