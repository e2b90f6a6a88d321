//! The logs that this process has open for writing: one per log, whatever path or URL names it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chio_receipts::{Chain, IdSource, Signer};

use crate::batch_store::{BatchStore, Head};
use crate::claim;
use crate::error::LogError;
use crate::fork::Generation;
use crate::keys;
use crate::location::LogLocation;
use crate::options::LogOptions;
use crate::place::{FileId, beside, file_id};
use crate::queue::Queue;
use crate::recent::SignedCheckpoint;
use crate::sealer::{Sealer, unix_ms};
use crate::shared::Shared;

/// Names a log whatever path or URL leads to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    File(FileId),
    /// The random id of a log in a database.
    Id(String),
}

type Logs = HashMap<Key, Entry>;

struct Entry {
    shared: Arc<Shared>,
    handles: usize,
}

/// The registry of one generation. A forked child starts with an empty one: the parent's may be locked by a thread that
/// the child does not have.
struct Registry {
    generation: Generation,
    logs: Mutex<Logs>,
}

static REGISTRY: AtomicPtr<Registry> = AtomicPtr::new(std::ptr::null_mut());

fn registry() -> MutexGuard<'static, Logs> {
    let generation = Generation::current();
    loop {
        let known = REGISTRY.load(Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::leak` below, and nothing frees it.
        if let Some(registry) = unsafe { known.as_ref() }
            && registry.generation == generation
        {
            return registry.logs.lock().unwrap_or_else(PoisonError::into_inner);
        }
        // One registry per fork is leaked; the parent's content must not be dropped in the child.
        let fresh = Box::leak(Box::new(Registry { generation, logs: Mutex::default() }));
        let _ = REGISTRY.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Joins the log that this process has open, or opens it.
pub(crate) fn open(location: &LogLocation, options: &LogOptions) -> Result<Arc<Shared>, LogError> {
    let location = location.resolved()?;
    let mut logs = registry();
    // A file is known without being opened, which would create it; a database has to be asked for the log's id.
    let (known, store) = match location.path() {
        Some(path) => (file_id(path)?.map(Key::File), None),
        None => {
            let store = location.open_or_create(options.durability)?;
            (Some(Key::Id(store.log_id()?)), Some(store))
        }
    };
    if let Some(entry) = known.as_ref().and_then(|key| logs.get_mut(key)) {
        if let Some(failure) = entry.shared.failure() {
            return Err(failure);
        }
        let claimed = configured_name(&entry.shared.issuer);
        entry.shared.options.agree(options, claimed)?;
        entry.handles += 1;
        return Ok(Arc::clone(&entry.shared));
    }
    let store = match store {
        Some(store) => store,
        None => location.open_or_create(options.durability)?,
    };
    let shared = start(&location, store, options)?;
    let created = || location.path().map(file_id).transpose().map(|id| id.flatten().map(Key::File));
    let Some(key) = known.map_or_else(created, |key| Ok(Some(key)))? else {
        return Err(LogError::Missing { path: location.shown().to_path_buf() });
    };
    logs.insert(key, Entry { shared: Arc::clone(&shared), handles: 1 });
    Ok(shared)
}

/// Gives one handle back; see [`crate::Log::close`].
pub(crate) fn close(shared: &Arc<Shared>) -> Result<(), LogError> {
    // Held to the end of the last close, so that whoever opens the file next finds the claim free.
    let mut logs = registry();
    let key = logs.iter().find(|(_, entry)| Arc::ptr_eq(&entry.shared, shared)).map(|(key, _)| key.clone());
    let Some(key) = key else { return Ok(()) };
    if let Some(entry) = logs.get_mut(&key)
        && entry.handles > 1
    {
        entry.handles -= 1;
        drop(logs);
        let issued = shared.seal();
        return shared.wait_durable(issued, None).map(|_| ());
    }
    shared.begin_closing();
    let sealer = shared.sealer.lock().unwrap_or_else(PoisonError::into_inner).take();
    // A panic of the sealer is its failure, returned below. The claim ends with the store, which the sealer owns.
    let _ = sealer.map(std::thread::JoinHandle::join);
    logs.remove(&key);
    match shared.failure() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// The issuer's name without the log's id.
pub(crate) fn configured_name(issuer: &str) -> &str {
    issuer.rsplit_once('@').map_or(issuer, |(name, _)| name)
}

/// 1 claims the name in the opened store; 2 finds the key and the end of the chain; 3 records the start; 4 starts the
/// sealer. A crash in between leaves at most an empty log, or a start time without receipts.
fn start(
    location: &LogLocation,
    mut store: Box<dyn BatchStore>,
    options: &LogOptions,
) -> Result<Arc<Shared>, LogError> {
    let name = match &options.issuer {
        Some(name) => claim::exact(store.as_mut(), name).map(|()| name.clone())?,
        None => claim::lowest_free(store.as_mut(), &options.identity)?,
    };
    let issuer = format!("{name}@{}", store.log_id()?);
    let (signer, created_key) = find_signer(store.as_ref(), location, options)?;
    let head = store.head(&issuer)?;
    if let Some(head) = &head {
        check_key(store.as_ref(), &issuer, head, &signer)?;
    }
    let now = unix_ms();
    let earlier = store.start(now)?;
    let chain = next_epoch(&issuer, head.as_ref());
    let last_ms = head.as_ref().map_or(0, |head| i64::try_from(head.max_id.ms()).unwrap_or(i64::MAX));
    let ids = IdSource::new(&issuer, chain.epoch).not_before(last_ms.max(earlier) + 1);
    let queue = Queue::new(ids, options.max_batch);
    let epoch = chain.epoch;
    let newest = head.as_ref().map(|head| signed_checkpoint(store.as_ref(), head)).transpose()?;
    let shared = Shared::new(location.clone(), issuer, epoch, signer, created_key, options.clone(), queue, newest);
    let shared = Arc::new(shared);
    let sealer = Sealer::new(Arc::clone(&shared), store, chain, head);
    let thread = std::thread::Builder::new()
        .name("chio-sealer".to_owned())
        .spawn(move || sealer.run())
        .map_err(|error| LogError::from_io(location.shown(), &error))?;
    *shared.sealer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(shared)
}

/// The checkpoint of an issuer's newest batch.
fn signed_checkpoint(store: &dyn BatchStore, head: &Head) -> Result<SignedCheckpoint, LogError> {
    let frame = store.frame(head.batch)?.ok_or_else(|| LogError::NotFound { what: format!("batch {}", head.batch) })?;
    SignedCheckpoint::of(head.batch, &frame)
}

/// Every start is a new epoch, whose first checkpoint names the last one of the epoch before. A start that left no batch
/// did not use its epoch, so epochs have no gaps.
fn next_epoch(issuer: &str, head: Option<&Head>) -> Chain {
    match head {
        None => Chain::start(issuer),
        Some(head) => Chain {
            issuer: issuer.to_owned(),
            epoch: head.epoch + 1,
            next_seq: 0,
            running_count: head.running_count,
            previous: head.checkpoint,
        },
    }
}

/// The signer given, or the one of the key file beside the log, which is created while nobody has issued into the log.
fn find_signer(
    store: &dyn BatchStore,
    location: &LogLocation,
    options: &LogOptions,
) -> Result<(Arc<Signer>, Option<PathBuf>), LogError> {
    if let Some(signer) = &options.signer {
        return Ok((Arc::clone(signer), None));
    }
    let Some(path) = location.path() else {
        let detail = format!(
            "receipt log `{location}` has no key file beside it: make one with `chio-fast key generate`, and give it as \
             `signer=` or in CHIO_SIGNING_KEY"
        );
        return Err(LogError::Options { detail });
    };
    let key = beside(path, "-key");
    if file_id(&key)?.is_none() && own_issuers(store)?.is_empty() {
        match keys::create(&key) {
            Ok(signer) => return Ok((Arc::new(signer), Some(key))),
            // Another process that starts with the same new log was faster: use its key.
            Err(_) if file_id(&key)?.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    keys::load(&key).map(|signer| (Arc::new(signer), None))
}

/// The issuers of this very log, without those whose batches were imported.
pub(crate) fn own_issuers(store: &dyn BatchStore) -> Result<Vec<String>, LogError> {
    let log_id = store.log_id()?;
    let mut issuers = store.issuers()?;
    issuers.retain(|issuer| is_own(issuer, &log_id));
    Ok(issuers)
}

/// Whether an issuer's name is of the log with this id.
pub(crate) fn is_own(issuer: &str, log_id: &str) -> bool {
    issuer.rsplit_once('@').is_some_and(|(_, id)| id == log_id)
}

/// A key changes only when an operator has recorded it.
fn check_key(store: &dyn BatchStore, issuer: &str, head: &Head, signer: &Signer) -> Result<(), LogError> {
    let given = signer.key_id();
    if head.key_id == given || store.is_rotation(&head.key_id, &given)? {
        return Ok(());
    }
    Err(LogError::KeyMismatch {
        issuer: issuer.to_owned(),
        stored: chio_receipts::hex::encode(&head.key_id),
        given: chio_receipts::hex::encode(&given),
    })
}
