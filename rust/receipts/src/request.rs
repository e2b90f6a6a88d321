//! Keys by which requests compare: where an event came from and for whom, whatever its id or time.

use std::fmt;

use crate::hash::{self, Domain};

/// What identifies a partition for one identity in one consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionParts<'a> {
    /// Cluster id; empty when unknown.
    pub cluster: &'a str,
    /// Topic id (it changes when a topic is deleted and created again); empty when unknown.
    pub topic_id: &'a str,
    /// Consumer group; empty when there is none.
    pub group: &'a str,
    /// Identity that acts.
    pub identity: &'a str,
    /// Topic name.
    pub topic: &'a str,
    /// Partition number.
    pub partition: i32,
}

/// First 16 bytes of H over the length-prefixed parts of [`PartitionParts`], in the order in which they are declared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey(pub [u8; 16]);

/// First 16 bytes of H over the length-prefixed partition key and offset: the same event for the same identity and group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(pub [u8; 16]);

impl PartitionKey {
    /// The key of a partition.
    pub fn new(parts: &PartitionParts<'_>) -> Self {
        let hash = hash::parts(
            Domain::Partition,
            &[
                parts.cluster.as_bytes(),
                parts.topic_id.as_bytes(),
                parts.group.as_bytes(),
                parts.identity.as_bytes(),
                parts.topic.as_bytes(),
                &parts.partition.to_le_bytes(),
            ],
        );
        Self(hash::first_16(&hash))
    }
}

/// The request key of the event at `offset` of a partition.
pub fn request_key(partition: &PartitionKey, offset: i64) -> RequestKey {
    RequestKey(hash::first_16(&hash::parts(Domain::Request, &[&partition.0, &offset.to_le_bytes()])))
}

impl fmt::Debug for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionKey({})", crate::hex::encode(&self.0))
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestKey({})", crate::hex::encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let base = PartitionParts { cluster: "c", topic_id: "i", group: "g", identity: "w", topic: "t", partition: 0 };
        let key = PartitionKey::new(&base);
        for other in [
            PartitionParts { cluster: "d", ..base },
            PartitionParts { topic_id: "j", ..base },
            PartitionParts { group: "h", ..base },
            PartitionParts { identity: "x", ..base },
            PartitionParts { topic: "u", ..base },
            PartitionParts { partition: 1, ..base },
        ] {
            assert_ne!(PartitionKey::new(&other), key, "{other:?}");
        }
        assert_ne!(request_key(&key, 0), request_key(&key, 1));
    }
}
