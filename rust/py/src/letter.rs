//! The DLQ record of a denied event, spelled without a Python object per field.
//!
//! `kafka/envelope.py` says what the record is, writes it for every other kind of event, and is what tests hold this to.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use chio_receipts::{hex, jcs};
use chio_rulings::{Snapshot, headers as names};

use crate::event::Event;

/// How much of the original a record holds, as in `envelope.Form`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The value.
    pub value: bool,
    /// Key and headers.
    pub rest: bool,
}

/// Key, value and headers of a record.
pub type Letter<'py> = (Option<Bound<'py, PyBytes>>, Bound<'py, PyBytes>, Bound<'py, PyList>);

/// The record; `None` if something of the original is not UTF-8, which takes base64.
pub fn of<'py>(
    event: &Event,
    py: Python<'py>,
    snapshot: &Snapshot,
    attempt: Option<u64>,
    form: Form,
) -> PyResult<Option<Letter<'py>>> {
    let (key, value) = (event.key.as_deref().filter(|_| form.rest), event.value.as_deref());
    let (Ok(key), Ok(text)) = (utf8(key), utf8(value.filter(|_| form.value))) else { return Ok(None) };
    let request = event.request_text();
    let mut out = Object::default();
    out.text("original_topic", Some(&event.place.topic));
    out.number("original_partition", Some(i64::from(event.place.number)));
    out.number("original_offset", Some(event.offset));
    out.number("original_timestamp", event.timestamp);
    out.text("original_key", key);
    out.text("original_key_encoding", Some("utf-8"));
    out.text("original_value", text);
    out.text("original_value_encoding", Some("utf-8"));
    out.raw("original_value_omitted", if form.value { b"false" } else { b"true" });
    out.text("original_value_digest", value.map(|value| hex::encode(blake3::hash(value).as_bytes())).as_deref());
    let Some(headers) = original_headers(event, form)? else { return Ok(None) };
    out.raw("original_headers", &headers);
    out.text("request", Some(&request));
    out.number("attempt", attempt.and_then(|attempt| i64::try_from(attempt).ok()));
    out.raw("chio_denial", &denial(snapshot));
    let receipt_id = snapshot.receipt_id.as_deref().unwrap_or_default();
    let own = [
        (names::RECEIPT, receipt_id),
        (names::REASON, &snapshot.reason),
        (names::TOPIC, &event.place.topic),
        (names::REQUEST, &request),
    ];
    let own = own.map(|(name, value)| (name, PyBytes::new(py, value.as_bytes())));
    let key = key.map(|key| PyBytes::new(py, key.as_bytes()));
    Ok(Some((key, PyBytes::new(py, &out.close()), PyList::new(py, own)?)))
}

/// The list of the original's headers; `None` if one is not UTF-8.
fn original_headers(event: &Event, form: Form) -> PyResult<Option<Vec<u8>>> {
    let mut list = vec![b'['];
    let mut is_text = true;
    if form.rest {
        event.each_header(|name, value| {
            let (Ok(name), Ok(value)) = (str::from_utf8(name), utf8(value)) else {
                is_text = false;
                return;
            };
            if list.len() > 1 {
                list.push(b',');
            }
            let mut header = Object::default();
            header.text("name", Some(name));
            header.text("value", value);
            header.text("encoding", Some("utf-8"));
            list.extend(header.close());
        })?;
    }
    list.push(b']');
    Ok(is_text.then_some(list))
}

fn denial(snapshot: &Snapshot) -> Vec<u8> {
    let mut guards = vec![b'['];
    for (place, name) in snapshot.guards.iter().enumerate() {
        if place > 0 {
            guards.push(b',');
        }
        jcs::write_string(&mut guards, name);
    }
    guards.push(b']');
    let mut out = Object::default();
    out.text("receipt_id", snapshot.receipt_id.as_deref());
    out.text("verdict", Some(snapshot.verdict));
    out.text("reason", Some(&snapshot.reason));
    out.text("scope_requested", Some(&snapshot.scope));
    out.text("identity", Some(&snapshot.identity));
    out.text("rule", Some(&snapshot.rule));
    out.raw("guards_evaluated", &guards);
    out.number("timestamp", Some(snapshot.timestamp));
    out.close()
}

fn utf8(bytes: Option<&[u8]>) -> Result<Option<&str>, std::str::Utf8Error> {
    bytes.map(str::from_utf8).transpose()
}

/// A JSON object that is being written.
#[derive(Default)]
struct Object(Vec<u8>);

impl Object {
    fn raw(&mut self, name: &str, json: &[u8]) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        jcs::write_string(&mut self.0, name);
        self.0.push(b':');
        self.0.extend_from_slice(json);
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => {
                self.raw(name, b"");
                jcs::write_string(&mut self.0, text);
            }
            None => self.raw(name, b"null"),
        }
    }

    fn number(&mut self, name: &str, number: Option<i64>) {
        match number {
            Some(number) => self.raw(name, number.to_string().as_bytes()),
            None => self.raw(name, b"null"),
        }
    }

    fn close(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}
