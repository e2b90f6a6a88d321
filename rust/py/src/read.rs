//! What is read of a consumed message, as conditions see it.

use chio_conditions::EventView;

use crate::held::Held;
use crate::place::Place;
use crate::record::Header;

/// What is read of a message at admission.
pub struct Read {
    /// Key.
    pub key: Option<Held>,
    /// Value.
    pub value: Option<Held>,
    /// Offset.
    pub offset: i64,
    /// Timestamp, Unix ms.
    pub timestamp: Option<i64>,
}

impl Read {
    /// Calls `f` with the event as conditions see it.
    pub fn with_view<R>(&self, place: &Place, headers: &[Header], f: impl FnOnce(&EventView<'_>) -> R) -> R {
        view(self.key.as_deref(), self.value.as_deref(), (place, self.offset, self.timestamp), headers, f)
    }
}

/// Calls `f` with an event, given as its key, value and position.
pub fn view<R>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    (place, offset, timestamp): (&Place, i64, Option<i64>),
    headers: &[Header],
    f: impl FnOnce(&EventView<'_>) -> R,
) -> R {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    let (partition, offset) = (Some(place.number), Some(offset));
    f(&EventView { topic: &place.topic, partition, offset, key, timestamp, headers: &headers, value })
}
