//! Vectors of the small parts: ids, canonical JSON, digests, keys, trees.

use chio_receipts::{PartitionKey, PartitionParts, ReceiptId, digest, hex, id, jcs, key_id, request_key, text, tree};
use serde_json::{Value, json};

/// Spellings of ids.
pub fn ids() -> Value {
    let valid = [0, 31, 32, 1 << 48, 1 << 80, 1 << 127, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677];
    let spelled = |value: &u128| {
        let id = ReceiptId::from_u128(*value);
        json!({ "hex": hex::encode(&id.to_bytes()), "id": id.to_string(), "ms": id.ms(), "tag": id.tag(), "counter": id.counter() })
    };
    let tags = [("a", 0), ("a", 1), ("worker@5f2d8a3c", 0), ("ünï@log", 7)];
    json!({
        "valid": valid.iter().map(spelled).collect::<Value>(),
        "invalid": [
            "", "rcpt_", "rcpt_0000000000000000000000000", "rcpt_000000000000000000000000000",
            "rcpt_80000000000000000000000000", "rcpt_0000000000000000000000000A", "rcpt_0000000000000000000000000i",
            "rcpt_0000000000000000000000000l", "rcpt_0000000000000000000000000o", "rcpt_0000000000000000000000000u",
            "RCPT_00000000000000000000000000", "rcpt-00000000000000000000000000", " rcpt_00000000000000000000000000",
            "rcpt_00000000000000000000000000\n", "rcpt_０0000000000000000000000000",
        ],
        "tags": tags.iter().map(|(issuer, epoch)| json!({ "issuer": issuer, "epoch": epoch, "tag": id::tag(issuer, *epoch) })).collect::<Value>(),
    })
}

/// Canonical forms.
pub fn jcs() -> Value {
    let valid = [
        "null",
        " true ",
        "\"\"",
        "[]",
        "{}",
        "0",
        "-0",
        "-0.0",
        "1.0",
        "1e2",
        "1E+2",
        "100e-2",
        "0.1",
        "1e-6",
        "1e-7",
        "123456789012345680000.0",
        "1e20",
        "1e21",
        "1.5e300",
        "5e-324",
        "1.7976931348623157e308",
        "9007199254740991",
        "-9007199254740991",
        "333333333.33333329",
        "1834767521656589.25",
        "1834767521656589.75",
        "-674876266939176.2",
        "9007199254740993.0",
        "2e-323",
        "1E30",
        "4.50",
        "2e-3",
        "0.000000000000000000000000001",
        "9007199254740992.0",
        "295147905179352830000.0",
        "\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\"",
        "\"\\ud83e\\udd80 \u{e9}\u{1f980}\"",
        "\"\\b\\t\\n\\f\\r\\u0000\\u007f\"",
        "{\"b\":1,\"a\":{\"d\":[1, 2],\"c\":null}}",
        "{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}",
        "{\"peach\":1,\"p\u{e9}ch\u{e9}\":2,\"p\u{ea}che\":3,\"sin\":4}",
        "[56,{\"d\":true,\"10\":null,\"1\":[]}]",
    ];
    let beyond = ["9007199254740993", "-18446744073709551616", "123456789012345678901234567890"];
    let invalid = [
        "",
        " ",
        "nul",
        "tru e",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e400",
        "NaN",
        "Infinity",
        "'a'",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\ud800x\"",
        "\"\t\"",
        "\"open",
        "[1,]",
        "[1 2]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "{} {}",
        "[1]x",
        "// c\n1",
    ];
    let form = |input: &&str| json!({ "input": input, "canonical": String::from_utf8(jcs::canonicalize(input.as_bytes()).unwrap()).unwrap() });
    json!({
        "valid": valid.iter().map(form).collect::<Value>(),
        "integers_beyond_double": beyond.iter().map(form).collect::<Value>(),
        "invalid": invalid,
    })
}

/// Digests of contents.
pub fn digests() -> Value {
    type Header<'a> = (&'a str, Option<&'a [u8]>);
    let long = vec![b'v'; 5000];
    type Event<'a> = (Option<&'a [u8]>, &'a [Header<'a>], Option<&'a [u8]>);
    let parts: [Event<'_>; 9] = [
        (None, &[], None),
        (Some(b""), &[], None),
        (None, &[], Some(b"")),
        (Some(b""), &[], Some(b"")),
        (Some(b"k"), &[], Some(b"v")),
        (Some(b"k"), &[("tenant", Some(b"a")), ("empty", Some(b"")), ("null", None)], Some(b"{\"amount\":12}")),
        (None, &[("", None)], None),
        (Some(&[0xff, 0x00]), &[("ünï", Some(&[0xfe]))], Some(&[0x00, 0xff])),
        (None, &[], Some(&long)),
    ];
    let keys = [None, Some([5; 32])];
    let mut events = Vec::new();
    for (key, headers, value) in parts {
        let optional = |bytes: Option<&[u8]>| bytes.map(hex::encode);
        let header = |(name, value): &Header<'_>| json!([name, optional(*value)]);
        for digest_key in keys {
            events.push(json!({
                "key": optional(key), "headers": headers.iter().map(header).collect::<Value>(), "value": optional(value),
                "digest_key": digest_key.map(|key| hex::encode(&key)),
                "digest": hex::encode(&digest::event(key, headers, value, digest_key.as_ref())),
            }));
        }
    }
    let arguments = ["null", "{}", "{\"b\":1,\"a\":[true,\"é\"]}", "12.50"]
        .map(|json| json!({ "json": json, "digest": hex::encode(&digest::arguments(json.as_bytes(), None).unwrap()) }));
    json!({ "events": events, "arguments": arguments, "digest_key_id": hex::encode(&digest::key_id(&[5; 32])) })
}

/// Keys by which things are named and compared.
pub fn keys() -> Value {
    let base = PartitionParts { cluster: "c", topic_id: "i", group: "g", identity: "w", topic: "t", partition: 0 };
    let cases = [
        base,
        PartitionParts { cluster: "", topic_id: "", group: "", ..base },
        PartitionParts { topic: "ünï", partition: 7, ..base },
    ];
    let case = |parts: &PartitionParts<'_>| {
        let key = PartitionKey::new(parts);
        json!({
            "cluster": parts.cluster, "topic_id": parts.topic_id, "group": parts.group, "identity": parts.identity,
            "topic": parts.topic, "partition": parts.partition, "partition_key": hex::encode(&key.0),
            "offset": 42, "request_key": hex::encode(&request_key(&key, 42).0),
        })
    };
    let long = "é".repeat(600);
    json!({
        "requests": cases.iter().map(case).collect::<Value>(),
        "key_id": { "public_key": "11".repeat(32), "key_id": hex::encode(&key_id(&[0x11; 32])) },
        "cut_text": { "text": long, "cut": text::clip(&long) },
    })
}

/// Roots and proofs.
pub fn trees() -> Value {
    let mut cases = Vec::new();
    for count in [1usize, 2, 3, 4, 5, 7, 8, 9, 16, 17, 500] {
        let leaves: Vec<tree::Hash> = (0..count).map(|i| tree::leaf(i.to_string().as_bytes())).collect();
        let hexes = |hashes: &[tree::Hash]| hashes.iter().map(|hash| hex::encode(hash)).collect::<Vec<_>>();
        let index = count * 2 / 3;
        cases.push(json!({
            "count": count, "root": hex::encode(&tree::root(&leaves)), "index": index,
            "proof": hexes(&tree::proof(&leaves, index).unwrap()),
        }));
    }
    json!({ "cases": cases })
}
