//! The trust file: which keys may sign for which issuers, and when.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document;
use crate::hex;
use crate::sign::{self, KeyId};

/// Whom a verifier trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The keys; no two are the same.
    pub keys: Vec<TrustedKey>,
}

/// One key and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// The Ed25519 public key.
    pub public_key: [u8; 32],
    /// Issuers that it may sign for: exact, or a prefix with `*` at its end.
    pub issuers: Vec<String>,
    /// Checkpoints before this time do not count, Unix ms.
    pub not_before: Option<u64>,
    /// Checkpoints after this time do not count, Unix ms.
    pub not_after: Option<u64>,
    /// What the key is good for now.
    pub status: KeyStatus,
    /// Checkpoints known from elsewhere, one for each issuer at most.
    pub last_checkpoints: Vec<LastCheckpoint>,
}

/// What a key is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It signs.
    Active,
    /// It signed; what follows its last checkpoint does not count.
    Retired,
    /// Somebody else has it; only what its last checkpoint commits to counts.
    Compromised,
}

/// A checkpoint known from elsewhere: a log that does not contain it is cut off or another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCheckpoint {
    /// Its issuer.
    pub issuer: String,
    /// Its hash.
    pub hash: [u8; 32],
}

/// A text is not a trust file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustError(pub String);

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trust file: {}", self.0)
    }
}

impl std::error::Error for TrustError {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustDocument {
    v: u32,
    keys: Vec<KeyDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDocument {
    public_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    issuers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_after: Option<u64>,
    status: KeyStatus,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    last_checkpoints: Vec<LastDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastDocument {
    issuer: String,
    hash: String,
}

impl Trust {
    /// Reads a trust file.
    ///
    /// # Errors
    /// [`TrustError`] for unknown or duplicate members, malformed keys, a `key_id` that is not the key's, a key or an
    /// issuer's last checkpoint that stands twice, and a retired key without an end.
    pub fn from_json(json: &[u8]) -> Result<Self, TrustError> {
        let document: TrustDocument = document::read(json, |trust| {
            let keys = || items(trust.get("keys"));
            let last_checkpoints = keys().flat_map(|key| items(key.get("last_checkpoints")));
            trust.is_object() && keys().chain(last_checkpoints).all(Value::is_object)
        })
        .map_err(TrustError)?;
        if document.v != 1 {
            return Err(TrustError(format!("version {} is not known: write `\"v\": 1`", document.v)));
        }
        let keys: Vec<TrustedKey> = document.keys.into_iter().map(key_of).collect::<Result<_, _>>()?;
        for (i, key) in keys.iter().enumerate() {
            if keys.iter().take(i).any(|other| other.public_key == key.public_key) {
                return Err(TrustError(format!("key `{}` stands twice", hex::encode(&key.public_key))));
            }
        }
        Ok(Self { keys })
    }

    /// The trust file as JSON text.
    pub fn to_json(&self) -> String {
        let document = TrustDocument { v: 1, keys: self.keys.iter().map(document_of).collect() };
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }

    /// The key with this name.
    pub fn key(&self, key_id: &KeyId) -> Option<&TrustedKey> {
        self.keys.iter().find(|key| key.key_id() == *key_id)
    }
}

impl TrustedKey {
    /// A key that may sign for these issuers from now on, whenever.
    pub fn active(public_key: [u8; 32], issuers: &[&str]) -> Self {
        Self {
            public_key,
            issuers: issuers.iter().map(|issuer| (*issuer).to_owned()).collect(),
            not_before: None,
            not_after: None,
            status: KeyStatus::Active,
            last_checkpoints: Vec::new(),
        }
    }

    /// Name of the key, computed.
    pub fn key_id(&self) -> KeyId {
        sign::key_id(&self.public_key)
    }

    /// Whether it may sign for `issuer`.
    pub fn may_sign_for(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => issuer.starts_with(prefix),
            None => issuer == pattern,
        })
    }

    /// The last checkpoint known for `issuer`.
    pub fn last_checkpoint(&self, issuer: &str) -> Option<&[u8; 32]> {
        self.last_checkpoints.iter().find(|last| last.issuer == issuer).map(|last| &last.hash)
    }
}

/// The items of a list, or none.
fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn key_of(document: KeyDocument) -> Result<TrustedKey, TrustError> {
    let name = document.public_key;
    let wrong = |what: &str| TrustError(format!("key `{name}`: {what}"));
    let public_key = hex::decode(name.as_bytes()).ok_or_else(|| wrong("write 64 lower-case hexadecimal digits"))?;
    if let Some(id) = &document.key_id
        && hex::decode(id.as_bytes()) != Some(sign::key_id(&public_key))
    {
        return Err(wrong("`key_id` is not the first 16 bytes of the key's BLAKE3 hash: correct it or leave it out"));
    }
    let malformed = |issuer: &String| issuer.is_empty() || issuer.strip_suffix('*').unwrap_or(issuer).contains('*');
    if document.issuers.iter().any(malformed) {
        return Err(wrong("an issuer is exact, or a prefix with one `*` at its end"));
    }
    let mut last_checkpoints: Vec<LastCheckpoint> = Vec::new();
    for last in document.last_checkpoints {
        if last_checkpoints.iter().any(|other| other.issuer == last.issuer) {
            return Err(wrong("an issuer has two last checkpoints: keep the later one"));
        }
        let hash = hex::decode(last.hash.as_bytes())
            .ok_or_else(|| wrong("write the hash of a last checkpoint as 64 lower-case hexadecimal digits"))?;
        last_checkpoints.push(LastCheckpoint { issuer: last.issuer, hash });
    }
    if document.status == KeyStatus::Retired && document.not_after.is_none() && last_checkpoints.is_empty() {
        return Err(wrong("a retired key needs `not_after` or `last_checkpoints`"));
    }
    Ok(TrustedKey {
        public_key,
        issuers: document.issuers,
        not_before: document.not_before,
        not_after: document.not_after,
        status: document.status,
        last_checkpoints,
    })
}

fn document_of(key: &TrustedKey) -> KeyDocument {
    KeyDocument {
        public_key: hex::encode(&key.public_key),
        key_id: Some(hex::encode(&key.key_id())),
        issuers: key.issuers.clone(),
        not_before: key.not_before,
        not_after: key.not_after,
        status: key.status,
        last_checkpoints: key
            .last_checkpoints
            .iter()
            .map(|last| LastDocument { issuer: last.issuer.clone(), hash: hex::encode(&last.hash) })
            .collect(),
    }
}
