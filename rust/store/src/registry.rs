//! The logs that this process has open for writing: one per file, whatever path names it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chio_receipts::{Chain, IdSource, Signer};

use crate::batch_store::{BatchStore, Head};
use crate::claim::Claim;
use crate::error::LogError;
use crate::fork::Generation;
use crate::keys;
use crate::options::LogOptions;
use crate::place::{FileId, beside, file_id, resolve};
use crate::queue::Queue;
use crate::sealer::{Sealer, unix_ms};
use crate::shared::Shared;
use crate::sqlite::SqliteStore;

type Logs = HashMap<FileId, Entry>;

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
pub(crate) fn open(path: &Path, options: &LogOptions) -> Result<Arc<Shared>, LogError> {
    let path = resolve(path)?;
    let mut logs = registry();
    if let Some(entry) = file_id(&path)?.and_then(|id| logs.get_mut(&id)) {
        if let Some(failure) = entry.shared.failure() {
            return Err(failure);
        }
        let claimed = configured_name(&entry.shared.issuer);
        entry.shared.options.agree(options, claimed)?;
        entry.handles += 1;
        return Ok(Arc::clone(&entry.shared));
    }
    let shared = start(&path, options)?;
    let Some(id) = file_id(&path)? else { return Err(LogError::Missing { path }) };
    logs.insert(id, Entry { shared: Arc::clone(&shared), handles: 1 });
    Ok(shared)
}

/// Gives one handle back; see [`crate::Log::close`].
pub(crate) fn close(shared: &Arc<Shared>) -> Result<(), LogError> {
    // Held to the end of the last close, so that whoever opens the file next finds the claim free.
    let mut logs = registry();
    let id = logs.iter().find(|(_, entry)| Arc::ptr_eq(&entry.shared, shared)).map(|(id, _)| *id);
    let Some(id) = id else { return Ok(()) };
    if let Some(entry) = logs.get_mut(&id)
        && entry.handles > 1
    {
        entry.handles -= 1;
        drop(logs);
        let issued = shared.seal();
        return shared.wait_durable(issued, None).map(|_| ());
    }
    shared.begin_closing();
    let sealer = shared.sealer.lock().unwrap_or_else(PoisonError::into_inner).take();
    // A panic of the sealer is its failure, returned below.
    let _ = sealer.map(std::thread::JoinHandle::join);
    drop(shared.claim.lock().unwrap_or_else(PoisonError::into_inner).take());
    logs.remove(&id);
    match shared.failure() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// The issuer's name without the log's id.
pub(crate) fn configured_name(issuer: &str) -> &str {
    issuer.rsplit_once('@').map_or(issuer, |(name, _)| name)
}

/// 1 opens or creates the file; 2 claims the name; 3 finds the key and the end of the chain; 4 records the start;
/// 5 starts the sealer. A crash in between leaves at most an empty log, or a start time without receipts.
fn start(path: &Path, options: &LogOptions) -> Result<Arc<Shared>, LogError> {
    let mut store = SqliteStore::open(path, options.durability)?;
    let claim = match &options.issuer {
        Some(name) => Claim::exact(path, name)?,
        None => Claim::lowest_free(path, &options.identity)?,
    };
    let issuer = format!("{}@{}", claim.name(), store.log_id()?);
    let (signer, created_key) = find_signer(&store, path, options)?;
    let head = store.head(&issuer)?;
    if let Some(head) = &head {
        check_key(&store, &issuer, head, &signer)?;
    }
    let now = unix_ms();
    let earlier = store.start(now)?;
    let chain = next_epoch(&issuer, head.as_ref());
    let last_ms = head.as_ref().map_or(0, |head| i64::try_from(head.max_id.ms()).unwrap_or(i64::MAX));
    let ids = IdSource::new(&issuer, chain.epoch).not_before(last_ms.max(earlier) + 1);
    let queue = Queue::new(ids, options.max_batch);
    let epoch = chain.epoch;
    let shared = Shared::new(path.to_path_buf(), issuer, epoch, signer, created_key, options.clone(), claim, queue);
    let shared = Arc::new(shared);
    let sealer = Sealer::new(Arc::clone(&shared), Box::new(store), chain, head);
    let thread = std::thread::Builder::new()
        .name("chio-sealer".to_owned())
        .spawn(move || sealer.run())
        .map_err(|error| LogError::from_io(path, &error))?;
    *shared.sealer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(shared)
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

/// The signer given, or the one of the key file beside the log, which is created while the log holds nothing.
fn find_signer(
    store: &SqliteStore,
    path: &Path,
    options: &LogOptions,
) -> Result<(Arc<Signer>, Option<PathBuf>), LogError> {
    if let Some(signer) = &options.signer {
        return Ok((Arc::clone(signer), None));
    }
    let key = beside(path, "-key");
    if file_id(&key)?.is_none() && store.scan(1, 1)?.is_empty() {
        match keys::create(&key) {
            Ok(signer) => return Ok((Arc::new(signer), Some(key))),
            // Another process that starts with the same new log was faster: use its key.
            Err(_) if file_id(&key)?.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    keys::load(&key).map(|signer| (Arc::new(signer), None))
}

/// A key changes only when an operator has recorded it.
fn check_key(store: &SqliteStore, issuer: &str, head: &Head, signer: &Signer) -> Result<(), LogError> {
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
