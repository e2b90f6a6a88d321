//! Taking over frames that other logs exported.
//!
//! A file is read twice. First every frame that the log does not hold is verified: signature, records, and that it
//! continues what the log (or the file before it) holds of its issuer. Then they are appended, some megabytes in one
//! durable write each. A crash in between leaves a beginning of the file, which the next import skips.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use chio_receipts::frame::{self, HEADER_LEN, Slot};
use chio_receipts::record::Record;
use chio_receipts::trust::Trust;
use chio_receipts::verify::{ChainEnd, LogVerifier, Report};
use chio_receipts::{Durability, KeyId, Sealed, hex};

use crate::batch_store::{BatchStore, Head, NewBatch, OutcomeOf};
use crate::claim;
use crate::continuity::{self, Ids};
use crate::error::LogError;
use crate::location::LogLocation;
use crate::registry::{configured_name, is_own};

/// Bytes of frames in one durable write, if there are so many.
const PORTION: usize = 16 << 20;

/// What an import took over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Batches that were appended, by issuer.
    pub issuers: BTreeMap<String, u64>,
    /// Records in them.
    pub records: u64,
    /// Batches that the log held already.
    pub duplicates: u64,
}

/// Appends the frames in `file`, as [`crate::LogReader::export_stream`] writes them, to a log, which is created if there
/// is none. Frames that it holds are skipped; those of one issuer keep their order; issuers may be mixed.
///
/// # Errors
/// `Import` when a frame is not authentic, or leaves a gap or a fork in its issuer's chain: nothing of the file is
/// appended then. `State` when an outcome contradicts what the log holds. `Claimed` for new frames of an issuer of this
/// very log that is running.
pub fn import(log: impl Into<LogLocation>, file: &Path, trust: &Trust) -> Result<Imported, LogError> {
    let mut store = log.into().resolved()?.open_or_create(Durability::Full)?;
    let mut examined = Examination::new(store.as_mut(), file, trust)?;
    for bytes in Frames::open(file)? {
        examined.frame(&bytes?)?;
    }
    let (fresh, imported) = examined.finish()?;
    append(store.as_mut(), file, &fresh)?;
    Ok(imported)
}

/// Appends the frames of `file` whose hashes are in `fresh`.
fn append(store: &mut dyn BatchStore, file: &Path, fresh: &HashSet<blake3::Hash>) -> Result<(), LogError> {
    let (mut portion, mut size, mut appended) = (Vec::new(), 0, 0);
    let mut write = |portion: &mut Vec<NewBatch>| {
        appended += portion.len();
        if portion.is_empty() { Ok(()) } else { store.import(&std::mem::take(portion)) }
    };
    for bytes in Frames::open(file)? {
        let bytes = bytes?;
        if !fresh.contains(&blake3::hash(&bytes)) {
            continue;
        }
        size += bytes.len();
        portion.push(read(file, bytes)?);
        if size >= PORTION {
            size = 0;
            write(&mut portion)?;
        }
    }
    write(&mut portion)?;
    store.tidy()?;
    if appended == fresh.len() {
        return Ok(());
    }
    Err(refused(file, "it changed while it was read; import it again"))
}

fn refused(file: &Path, detail: impl Into<String>) -> LogError {
    LogError::Import { path: file.to_path_buf(), detail: detail.into() }
}

/// A frame as a batch for the store.
fn read(file: &Path, bytes: Vec<u8>) -> Result<NewBatch, LogError> {
    let damaged = |error: &dyn std::fmt::Display| refused(file, error.to_string());
    let meta = frame::meta(&bytes).map_err(|error| damaged(&error))?;
    let decoded = frame::decode(&bytes).map_err(|error| damaged(&error))?;
    let mut outcomes = Vec::new();
    for slot in decoded.slots() {
        if let Slot::Body(body) = slot
            && let Record::Outcome(outcome) = Record::parse(body).map_err(|error| damaged(&error))?
        {
            let (checkpoint, contradicts) = (outcome.batch, outcome.contradicts);
            outcomes.push(OutcomeOf { checkpoint, outcome: outcome.outcome, contradicts });
        }
    }
    let (checkpoint_hash, root) = (meta.checkpoint_hash, decoded.checkpoint.root);
    let sealed = Sealed { frame: bytes, meta, checkpoint_hash, root, attempts: Vec::new() };
    Ok(NewBatch { sealed, outcomes })
}

/// The first reading of a file.
struct Examination<'a> {
    store: &'a mut dyn BatchStore,
    log_id: String,
    file: &'a Path,
    trust: &'a Trust,
    verifier: LogVerifier<'a>,
    /// Where the chain of each issuer ends, with what was examined so far.
    heads: HashMap<String, Option<Head>>,
    /// Checkpoints examined so far.
    checkpoints: HashSet<[u8; 32]>,
    /// Hashes of the frames to append.
    fresh: HashSet<blake3::Hash>,
    imported: Imported,
}

impl<'a> Examination<'a> {
    fn new(store: &'a mut dyn BatchStore, file: &'a Path, trust: &'a Trust) -> Result<Self, LogError> {
        Ok(Self {
            log_id: store.log_id()?,
            store,
            file,
            trust,
            verifier: LogVerifier::new(trust).continued(),
            heads: HashMap::new(),
            checkpoints: HashSet::new(),
            fresh: HashSet::new(),
            imported: Imported::default(),
        })
    }

    fn frame(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let batch = read(self.file, bytes.to_vec())?;
        let meta = &batch.sealed.meta;
        let is_known = self.store.find_checkpoint(&meta.checkpoint_hash)?.is_some();
        if is_known || !self.checkpoints.insert(meta.checkpoint_hash) {
            self.imported.duplicates += 1;
            return Ok(());
        }
        self.meet(&meta.issuer)?;
        let head = self.heads.get(&meta.issuer).and_then(Option::as_ref);
        if continuity::continues(head, &batch, &meta.issuer).is_err() {
            return Err(self.broken_chain(bytes, &batch, head));
        }
        let next = continuity::head_after(0, &batch, &Ids::of(&batch, head));
        self.verifier.feed(bytes);
        self.heads.insert(meta.issuer.clone(), Some(next));
        self.fresh.insert(blake3::hash(bytes));
        *self.imported.issuers.entry(meta.issuer.clone()).or_default() += 1;
        self.imported.records += u64::from(meta.count);
        Ok(())
    }

    /// Takes up the chain of an issuer where the log holds its end.
    fn meet(&mut self, issuer: &str) -> Result<(), LogError> {
        if self.heads.contains_key(issuer) {
            return Ok(());
        }
        // Other logs' issuers have other ids in their names, so nobody who is running issues under them here.
        if is_own(issuer, &self.log_id) {
            claim::exact(self.store, configured_name(issuer))?;
        }
        let head = self.store.head(issuer)?;
        if let Some(head) = &head {
            let end = ChainEnd {
                epoch: head.epoch,
                next_seq: head.next_seq,
                running_count: head.running_count,
                checkpoint: head.checkpoint,
                key_id: head.key_id,
                passed: self.passed(issuer)?,
            };
            self.verifier.follow_on(issuer, end);
        }
        self.heads.insert(issuer.to_owned(), head);
        Ok(())
    }

    /// The keys whose last checkpoints the log holds of `issuer`.
    fn passed(&self, issuer: &str) -> Result<Vec<KeyId>, LogError> {
        let mut passed = Vec::new();
        for key in &self.trust.keys {
            if let Some(last) = key.last_checkpoint(issuer)
                && self.store.find_checkpoint(last)?.is_some()
            {
                passed.push(key.key_id());
            }
        }
        Ok(passed)
    }

    /// Why a frame that does not continue its issuer's chain is refused. What nobody signed accuses nobody of a fork.
    fn broken_chain(&self, bytes: &[u8], batch: &NewBatch, head: Option<&Head>) -> LogError {
        let mut alone = LogVerifier::new(self.trust).partial();
        alone.feed(bytes);
        let report = alone.finish();
        if report.found > 0 {
            return not_authentic(self.file, &report);
        }
        let meta = &batch.sealed.meta;
        let place = format!("issuer `{}`: the batch at epoch {} seq {}", meta.issuer, meta.epoch, meta.first_seq);
        let held = head.map_or_else(
            || "nothing of this issuer".to_owned(),
            |head| format!("epoch {} up to seq {}", head.epoch, head.next_seq.saturating_sub(1)),
        );
        let previous = hex::encode(&meta.previous);
        let follows_known = match self.store.find_checkpoint(&meta.previous) {
            Ok(found) => found.is_some() || self.checkpoints.contains(&meta.previous) || meta.previous == [0; 32],
            Err(error) => return error,
        };
        refused(
            self.file,
            if follows_known && head.is_some() {
                format!(
                    "{place} is a fork: checkpoint `{previous}` has another successor in this log, which holds {held}; find out \
                 which of the two is a copy, and keep both as evidence"
                )
            } else {
                format!("{place} leaves a gap: the log holds {held}; import what comes in between first")
            },
        )
    }

    /// The hashes of the frames to append, and what they are.
    fn finish(self) -> Result<(HashSet<blake3::Hash>, Imported), LogError> {
        let Self { verifier, fresh, imported, file, .. } = self;
        let report = verifier.finish();
        if report.found == 0 {
            return Ok((fresh, imported));
        }
        Err(not_authentic(file, &report))
    }
}

fn not_authentic(file: &Path, report: &Report) -> LogError {
    let first = report.findings.first().map(ToString::to_string).unwrap_or_default();
    let more = if report.found > 1 { format!(", and {} more findings", report.found - 1) } else { String::new() };
    refused(file, format!("{first}{more}"))
}

/// The frames of a file, one at a time.
struct Frames {
    file: BufReader<File>,
    path: PathBuf,
    /// Bytes that were not read yet.
    left: u64,
}

impl Frames {
    fn open(path: &Path) -> Result<Self, LogError> {
        let to_error = |error: std::io::Error| refused(path, error.to_string());
        let file = File::open(path).map_err(to_error)?;
        let left = file.metadata().map_err(to_error)?.len();
        Ok(Self { file: BufReader::new(file), path: path.to_path_buf(), left })
    }

    fn read(&mut self) -> Result<Vec<u8>, LogError> {
        let cut_off = || refused(&self.path, "it ends within a frame: copy the file anew");
        if self.left < HEADER_LEN as u64 {
            return Err(cut_off());
        }
        let mut bytes = vec![0; HEADER_LEN];
        self.file.read_exact(&mut bytes).map_err(|error| refused(&self.path, error.to_string()))?;
        let length = frame::length(&bytes).map_err(|error| {
            refused(&self.path, format!("{error}; give a file that `chio-fast receipt export --all` wrote"))
        })?;
        // What a header says is believed only as far as the file reaches.
        if length as u64 > self.left {
            return Err(cut_off());
        }
        bytes.resize(length, 0);
        let rest = bytes.get_mut(HEADER_LEN..).unwrap_or_default();
        self.file.read_exact(rest).map_err(|error| refused(&self.path, error.to_string()))?;
        self.left -= length as u64;
        Ok(bytes)
    }
}

impl Iterator for Frames {
    type Item = Result<Vec<u8>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.left > 0).then(|| {
            let read = self.read();
            if read.is_err() {
                self.left = 0;
            }
            read
        })
    }
}
