//! The target: what a receipt is about, and reading it.

use crate::scan::{Cursor, ScanError, Text};
use crate::template::MAX_TOPIC;

/// What a receipt is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target<'a> {
    /// A scope alone.
    #[default]
    None,
    /// A tool.
    Tool(Text<'a>),
    /// An event.
    Event {
        /// Cluster id.
        cluster: Option<Text<'a>>,
        /// Consumer group.
        group: Option<Text<'a>>,
        /// Offset.
        offset: Option<u64>,
        /// Partition number.
        partition: Option<u64>,
        /// Timestamp of the event, Unix ms.
        timestamp: Option<u64>,
        /// Topic name.
        topic: Text<'a>,
        /// Topic id.
        topic_id: Option<Text<'a>>,
    },
}

/// A target in its braces, its members in canonical order.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<Target<'a>, ScanError> {
    cursor.open()?;
    if cursor.member(b",\"tool\":") {
        let tool = cursor.text()?;
        cursor.close()?;
        return Ok(Target::Tool(tool));
    }
    let cluster = cursor.member(b",\"cluster\":").then(|| cursor.some_text()).transpose()?;
    let group = cursor.member(b",\"group\":").then(|| cursor.some_text()).transpose()?;
    let offset = cursor.member(b",\"offset\":").then(|| cursor.integer()).transpose()?;
    let partition = cursor.member(b",\"partition\":").then(|| partition(cursor)).transpose()?;
    let timestamp = cursor.member(b",\"timestamp\":").then(|| cursor.integer()).transpose()?;
    cursor.need(b",\"topic\":", "expected `topic` or `tool`")?;
    let topic = cursor.text_within(MAX_TOPIC)?;
    let topic_id = cursor.member(b",\"topic_id\":").then(|| cursor.some_text()).transpose()?;
    cursor.close()?;
    Ok(Target::Event { cluster, group, offset, partition, timestamp, topic, topic_id })
}

/// A partition number: 31 bits.
pub(super) fn partition(cursor: &mut Cursor<'_>) -> Result<u64, ScanError> {
    match cursor.integer()? {
        number if number <= i32::MAX as u64 => Ok(number),
        _ => cursor.error("partition number is too large"),
    }
}
