//! A small world for conditions: one event, one tool call, one output.

#![allow(dead_code)] // each test uses its part

use chio_conditions::{Attributes, Condition, Env, ErrorCode, EventView, Kind, Scratch};
use serde_json::{Value, json};

pub const VALUE: &str = r#"{"amount":1500,"price":12.5,"big":18446744073709551615,"currency":"EUR","note":"a \"b\" \u00e9","vip":true,
    "nothing":null,"tags":["new","eu"],"items":[{"sku":"a","price":10},{"sku":"b","price":20}],
    "customer":{"tier":"gold","address":{"city":"Köln"}},"x-id":"7","empty":[],"none":{}}"#;
pub const ARGUMENTS: &str = r#"{"amount":1500,"query":"weather","limits":[1,2,3]}"#;

/// An environment that owns what it shows.
#[derive(Debug)]
pub struct World {
    pub kind: Kind,
    pub value: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub arguments: Vec<u8>,
    pub attributes: Value,
    pub position: Option<(i32, i64, i64)>,
    pub has_event: bool,
}

impl Default for World {
    fn default() -> Self {
        Self {
            kind: Kind::Consume,
            value: Some(VALUE.into()),
            key: Some(b"user-17".to_vec()),
            headers: vec![
                ("trace".into(), Some(b"first".to_vec())),
                ("X-Tenant".into(), Some(b"acme".to_vec())),
                ("trace".into(), Some(b"last".to_vec())),
                ("empty".into(), None),
                ("raw".into(), Some(vec![0xff, 0])),
            ],
            arguments: ARGUMENTS.into(),
            attributes: json!({"region": "eu", "level": 3, "teams": ["risk", "ops"], "limits": {"refund": 1000}}),
            position: Some((3, 42, 1_700_000_000_000)),
            has_event: true,
        }
    }
}

impl World {
    pub fn with_value(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// Gives the environment to `use_it`.
    pub fn env<T>(&self, use_it: impl FnOnce(&Env<'_>) -> T) -> T {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let attributes = Attributes::from_json(self.attributes.as_object().unwrap_or(&serde_json::Map::new()));
        let event = EventView {
            topic: "orders",
            partition: self.position.map(|position| position.0),
            offset: self.position.map(|position| position.1),
            key: self.key.as_deref(),
            timestamp: self.position.map(|position| position.2),
            headers: &headers,
            value: self.value.as_deref(),
        };
        let output = EventView { topic: "refunds", partition: None, offset: None, timestamp: None, ..event };
        use_it(&Env {
            identity: "refund-agent",
            attributes: &attributes,
            scope: "events:consume:orders",
            kind: self.kind,
            now: 1_700_000_060_000,
            event: self.has_event.then_some(&event),
            tool: (self.kind == Kind::Invoke).then_some("search"),
            arguments: (self.kind == Kind::Invoke).then_some(self.arguments.as_slice()),
            output: (self.kind == Kind::Produce).then_some(&output),
        })
    }

    pub fn eval(&self, text: &str) -> Result<bool, ErrorCode> {
        let condition = Condition::compile(text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
        self.env(|env| condition.eval(env, &mut Scratch::new()))
    }
}
