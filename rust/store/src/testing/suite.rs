//! The named cases that every [`BatchStore`] must pass.
//!
//! A store's test calls [`run`] with a way to open one and the same log again and again; each case uses a log of its own.

use chio_receipts::{Mode, OutcomeWord, PartitionKey, ReceiptId};

use super::Sample;
use super::issuer::{Issuer, NOW};
use crate::batch_store::{BatchStore, Head, NewBatch, State};

/// Opens the log with this name, creating it at first.
pub type Open<'a> = &'a dyn Fn(&str) -> Box<dyn BatchStore>;

/// A case works on the log with the name that it is given.
pub type Case = fn(Open<'_>, &str);

/// Every case, by the promise that it holds.
pub const CASES: [(&str, Case); 16] = [
    ("a new log has no head and no batches", new_log),
    ("what is appended is there after opening again", survives),
    ("an append on another head than the newest appends nothing", conditional),
    ("a batch that does not continue the chain appends nothing", continuous),
    ("several batches are appended all or none", atomic),
    ("a new epoch follows the last batch of the one before", epochs),
    ("issuers have chains of their own", issuers),
    ("ids lead to their batch", ids),
    ("ids of transactions may lie below those of earlier batches", late_ids),
    ("offsets lead to the batches that cover them", coverage),
    ("an outcome resolves a prepared batch once", outcomes),
    ("a rewritten frame replaces the former one", rewrites),
    ("rotations are followed in their direction", rotations),
    ("a name is claimed by one store until it is dropped", claims),
    ("what was sealed elsewhere is imported in its order or not at all", imports),
    ("an imported outcome may come before its batch", early_outcomes),
];

/// Runs every case on logs that `open` opens by name.
///
/// # Panics
/// When the store breaks a promise.
pub fn run(open: Open<'_>) {
    for (number, (promise, case)) in CASES.iter().enumerate() {
        println!("suite: {promise}");
        case(open, &format!("case-{number}"));
    }
}

fn transaction() -> Mode {
    Mode::Transaction { group: "g".to_owned(), transactional_id: "g-1".to_owned() }
}

fn partition() -> PartitionKey {
    Sample::new("agents", "orders", 0).target.partition_key().unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, crate::LogError>) -> &'static str {
    result.unwrap_err().code()
}

fn new_log(open: Open<'_>, name: &str) {
    let store = open(name);
    assert_eq!(store.head("a").unwrap(), None);
    assert_eq!(store.scan(1, 10).unwrap(), []);
    assert_eq!(store.frame(1).unwrap(), None);
    assert_eq!(store.highest_offset(&partition()).unwrap(), None);
    assert_eq!(store.log_id().unwrap(), open(name).log_id().unwrap());
}

fn survives(open: Open<'_>, name: &str) {
    let mut issuer = Issuer::new("a");
    let (first, second) = (issuer.batch(), issuer.batch());
    let mut store = open(name);
    let head = store.append(None, &[first]).unwrap();
    let bytes = second.sealed.frame.clone();
    let head = store.append(Some(&head), &[second]).unwrap();
    assert_eq!(store.start(NOW).unwrap(), 0);
    drop(store);
    let mut store = open(name);
    assert_eq!(store.start(NOW + 1).unwrap(), NOW);
    assert_eq!(store.head("a").unwrap(), Some(head));
    assert_eq!(store.frame(2).unwrap(), Some(bytes));
    let listed = store.scan(1, 10).unwrap();
    assert_eq!(
        listed.iter().map(|info| (info.batch, info.first_seq, info.count)).collect::<Vec<_>>(),
        [(1, 0, 3), (2, 3, 3)]
    );
    assert_eq!(listed[1].previous, listed[0].checkpoint);
    assert_eq!(store.scan(2, 1).unwrap(), listed[1..]);
}

fn conditional(open: Open<'_>, name: &str) {
    let mut issuer = Issuer::new("a");
    let first = issuer.batch();
    let mut fork = Issuer::new("a");
    fork.offset = 100;
    let mut store = open(name);
    let head = store.append(None, &[first]).unwrap();
    assert_eq!(code(open(name).append(None, &[fork.batch()])), "superseded");
    let stale = Head { checkpoint: [0; 32], ..head.clone() };
    assert_eq!(code(store.append(Some(&stale), &[issuer.batch()])), "superseded");
    assert_eq!(store.scan(1, 10).unwrap().len(), 1);
    assert_eq!(store.head("a").unwrap(), Some(head));
}

fn continuous(open: Open<'_>, name: &str) {
    let mut issuer = Issuer::new("a");
    let mut store = open(name);
    let head = store.append(None, &[issuer.batch()]).unwrap();
    let _skipped = issuer.batch();
    assert_eq!(code(store.append(Some(&head), &[issuer.batch()])), "superseded");
    let mut later = Issuer::new("b");
    later.next_epoch();
    assert_eq!(code(store.append(None, &[later.batch()])), "superseded");
    assert_eq!(code(store.append(Some(&head), &[])), "seal");
    assert_eq!(store.scan(1, 10).unwrap().len(), 1);
}

fn atomic(open: Open<'_>, name: &str) {
    let mut issuer = Issuer::new("a");
    let good = issuer.batch();
    let _skipped = issuer.batch();
    let mut store = open(name);
    assert_eq!(code(store.append(None, &[good, issuer.batch()])), "superseded");
    assert_eq!(store.scan(1, 10).unwrap(), []);
    assert_eq!(store.highest_offset(&partition()).unwrap(), None);
    let mut issuer = Issuer::new("a");
    let head = store.append(None, &[issuer.batch(), issuer.batch()]).unwrap();
    assert_eq!((head.batch, head.next_seq, head.running_count), (2, 6, 6));
}

fn epochs(open: Open<'_>, name: &str) {
    let mut issuer = Issuer::new("a");
    let mut store = open(name);
    let head = store.append(None, &[issuer.batch()]).unwrap();
    issuer.next_epoch();
    let head = store.append(Some(&head), &[issuer.batch()]).unwrap();
    assert_eq!((head.epoch, head.next_seq, head.running_count), (1, 3, 6));
    issuer.next_epoch();
    issuer.next_epoch();
    assert_eq!(code(store.append(Some(&head), &[issuer.batch()])), "superseded");
}

fn issuers(open: Open<'_>, name: &str) {
    let (mut a, mut b) = (Issuer::new("a"), Issuer::new("b"));
    let mut store = open(name);
    let head_a = store.append(None, &[a.batch()]).unwrap();
    let head_b = store.append(None, &[b.batch()]).unwrap();
    store.append(Some(&head_a), &[a.batch()]).unwrap();
    assert_eq!(store.head("b").unwrap(), Some(head_b));
    assert_eq!(store.issuers().unwrap(), ["a", "b"]);
    let mut mixed = vec![a.batch()];
    mixed.push(b.batch());
    let head = store.head("a").unwrap();
    assert_eq!(code(store.append(head.as_ref(), &mixed)), "superseded");
}

fn ids(open: Open<'_>, name: &str) {
    let (mut a, mut b) = (Issuer::new("a"), Issuer::new("b"));
    let mut store = open(name);
    let batches = [a.batch(), a.batch()];
    let metas = batches.each_ref().map(|batch| batch.sealed.meta.clone());
    store.append(None, &batches).unwrap();
    let other = b.batch();
    let foreign = other.sealed.meta.min_id.unwrap();
    store.append(None, &[other]).unwrap();
    for (place, meta) in metas.iter().enumerate() {
        for id in [meta.min_id.unwrap(), meta.max_id.unwrap()] {
            assert_eq!(store.find_id(id).unwrap(), [place as u64 + 1]);
        }
    }
    assert_eq!(store.find_id(foreign).unwrap(), [3]);
    assert_eq!(store.find_id(a.ids.next(NOW)).unwrap(), [0u64; 0]);
    assert_eq!(store.find_checkpoint(&metas[1].checkpoint_hash).unwrap(), Some(2));
    assert_eq!(store.find_checkpoint(&[5; 32]).unwrap(), None);
}

fn late_ids(open: Open<'_>, name: &str) {
    let mut issuer = Issuer::new("a");
    let ids: Vec<ReceiptId> = (0..40).map(|i| issuer.ids.next(NOW + 1000 * i)).collect();
    let mut batches: Vec<NewBatch> = ids[2..36].iter().map(|id| issuer.batch_with(&[*id], Mode::Recorded)).collect();
    batches.push(issuer.batch_with(&[ids[0], ids[38]], transaction()));
    batches.push(issuer.batch_with(&ids[1..2], Mode::Attempt));
    let mut store = open(name);
    let head = store.append(None, &batches).unwrap();
    assert_eq!(head.max_id, ids[38]);
    assert_eq!(store.head("a").unwrap().as_ref(), Some(&head));
    let found = |place: usize| store.find_id(ids[place]).unwrap();
    assert_eq!((found(0), found(1)), (vec![35], vec![35, 36]));
    assert_eq!((found(2), found(35)), (vec![1, 35], vec![34, 35]));
    assert_eq!((found(38), found(39)), (vec![35], vec![]));
    let next = store.append(Some(&head), &[issuer.batch_with(&ids[36..37], Mode::Recorded)]).unwrap();
    assert_eq!((next.batch, next.max_id), (37, ids[38]));
}

fn coverage(open: Open<'_>, name: &str) {
    let mut issuer = Issuer::new("a");
    let mut store = open(name);
    let mut batches = vec![issuer.batch_of(10, Mode::Recorded), issuer.batch_of(5, Mode::Recorded)];
    issuer.offset = 12;
    batches.push(issuer.batch_of(100, Mode::Recorded));
    issuer.offset = 0;
    batches.push(issuer.batch_of(1, Mode::Recorded));
    store.append(None, &batches).unwrap();
    let covering = |first, last| store.covering(&partition(), first..=last).unwrap();
    assert_eq!(store.highest_offset(&partition()).unwrap(), Some(111));
    assert_eq!(covering(0, 0), [1, 4]);
    assert_eq!(covering(9, 10), [1, 2]);
    assert_eq!(covering(12, 14), [2, 3]);
    assert_eq!(covering(111, i64::MAX), [3]);
    assert_eq!(covering(112, 200), [0u64; 0]);
    assert_eq!(store.covering(&PartitionKey([0; 16]), 0..=200).unwrap(), [0u64; 0]);
}

fn outcomes(open: Open<'_>, name: &str) {
    let mut issuer = Issuer::new("a");
    let mut store = open(name);
    let prepared = [issuer.batch_of(2, transaction()), issuer.batch_of(2, transaction()), issuer.batch()];
    let [first, second, plain] = prepared.each_ref().map(|batch| batch.sealed.checkpoint_hash);
    let mut head = store.append(None, &prepared).unwrap();
    let states = |store: &dyn BatchStore| {
        store.scan(1, 3).unwrap().iter().map(|info| (info.state, info.resolved_by)).collect::<Vec<_>>()
    };
    let prepared =
        |store: &dyn BatchStore| store.prepared().unwrap().iter().map(|info| info.checkpoint).collect::<Vec<_>>();
    let open_states = [(State::Prepared, None), (State::Prepared, None), (State::Recorded, None)];
    assert_eq!(states(store.as_ref()), open_states);
    assert_eq!(prepared(store.as_ref()), [first, second]);

    let unknown = issuer.outcome(first, OutcomeWord::Unknown, None);
    head = store.append(Some(&head), &[unknown]).unwrap();
    assert_eq!(states(store.as_ref()), open_states);

    let committed = issuer.outcome(first, OutcomeWord::Committed, None);
    let rolled_back = issuer.outcome(second, OutcomeWord::RolledBack, None);
    head = store.append(Some(&head), &[committed, rolled_back]).unwrap();
    let resolved = [(State::Committed, Some(5)), (State::RolledBack, Some(6)), (State::Recorded, None)];
    assert_eq!(states(store.as_ref()), resolved);
    assert_eq!(prepared(store.as_ref()), [[0u8; 32]; 0]);

    // The same again is no harm; another one, or one for a batch that needs none, appends nothing.
    head = store.append(Some(&head), &[issuer.outcome(first, OutcomeWord::Committed, None)]).unwrap();
    let chain = issuer.chain.clone();
    for (checkpoint, outcome) in
        [(first, OutcomeWord::RolledBack), (plain, OutcomeWord::Committed), ([3; 32], OutcomeWord::Committed)]
    {
        assert_eq!(code(store.append(Some(&head), &[issuer.outcome(checkpoint, outcome, None)])), "state");
        issuer.chain = chain.clone();
    }
    assert_eq!(states(store.as_ref()), resolved);

    // Kafka wins, by a record that says what it contradicts.
    let contradiction = issuer.outcome(first, OutcomeWord::RolledBack, Some(OutcomeWord::Committed));
    store.append(Some(&head), &[contradiction]).unwrap();
    assert_eq!(states(store.as_ref())[0], (State::RolledBack, Some(8)));
}

fn rewrites(open: Open<'_>, name: &str) {
    let mut issuer = Issuer::new("a");
    let mut store = open(name);
    store.append(None, &[issuer.batch()]).unwrap();
    store.rewrite_frame(1, &mut |former| Ok(former.iter().rev().copied().collect())).unwrap();
    assert!(store.frame(1).unwrap().unwrap().ends_with(b"1FHC"));
    let refused = store.rewrite_frame(1, &mut |_| Err(crate::LogError::NotFound { what: "body".to_owned() }));
    assert_eq!(code(refused), "not_found");
    assert!(store.frame(1).unwrap().unwrap().ends_with(b"1FHC"));
    assert_eq!(code(store.rewrite_frame(2, &mut |former| Ok(former.to_vec()))), "not_found");
}

fn rotations(open: Open<'_>, name: &str) {
    let mut store = open(name);
    let [a, b, c] = [[1; 16], [2; 16], [3; 16]];
    store.record_rotation(&a, &b, NOW).unwrap();
    store.record_rotation(&b, &c, NOW).unwrap();
    store.record_rotation(&b, &c, NOW).unwrap();
    assert!(store.is_rotation(&a, &b).unwrap() && store.is_rotation(&a, &c).unwrap());
    assert!(!store.is_rotation(&c, &a).unwrap() && !store.is_rotation(&a, &a).unwrap());
    // A circle of keys does not hang.
    store.record_rotation(&c, &a, NOW).unwrap();
    assert!(store.is_rotation(&c, &b).unwrap());
}

fn claims(open: Open<'_>, name: &str) {
    let mut store = open(name);
    assert_eq!(store.claim("a").unwrap(), Ok(()));
    let mut other = open(name);
    let holder = other.claim("a").unwrap().unwrap_err();
    assert!(holder.contains(&format!("process {}", std::process::id())), "the holder is told: {holder}");
    assert_eq!(other.claim("b").unwrap(), Ok(()));
    drop(store);
    assert_eq!(other.claim("a").unwrap(), Ok(()));
}

fn imports(open: Open<'_>, name: &str) {
    let (mut a, mut b) = (Issuer::new("a"), Issuer::new("b"));
    let mut store = open(name);
    store.append(None, &[b.batch()]).unwrap();
    let (first, second) = (a.batch(), b.batch());
    store.import(&[first, second, a.batch()]).unwrap();
    let listed = store.scan(1, 10).unwrap();
    let listed: Vec<_> = listed.iter().map(|info| (info.batch, info.issuer.as_str(), info.first_seq)).collect();
    assert_eq!(listed, [(1, "b", 0), (2, "a", 0), (3, "b", 3), (4, "a", 3)]);
    assert_eq!(store.head("a").unwrap().map(|head| head.batch), Some(4));
    assert_eq!(store.last_batch().unwrap(), 4);
    let next = b.batch();
    let _skipped = a.batch();
    assert_eq!(code(store.import(&[next, a.batch()])), "superseded");
    assert_eq!(store.last_batch().unwrap(), 4);
}

fn early_outcomes(open: Open<'_>, name: &str) {
    let (mut a, mut b) = (Issuer::new("a"), Issuer::new("b"));
    let (prepared, plain) = (a.batch_of(2, transaction()), a.batch());
    let [first, second] = [&prepared, &plain].map(|batch| batch.sealed.checkpoint_hash);
    let mut store = open(name);
    store.import(&[b.outcome(first, OutcomeWord::Committed, None)]).unwrap();
    let contradiction = b.outcome(first, OutcomeWord::RolledBack, Some(OutcomeWord::Committed));
    store.import(&[contradiction, b.outcome(second, OutcomeWord::Committed, None)]).unwrap();
    let chain = b.chain.clone();
    assert_eq!(code(store.import(&[b.outcome(first, OutcomeWord::Committed, None)])), "state");
    b.chain = chain;
    store.import(&[prepared]).unwrap();
    let info = store.scan(4, 1).unwrap().remove(0);
    assert_eq!((info.state, info.resolved_by), (State::RolledBack, Some(2)));
    // An outcome of what is no transaction's batch keeps that one out.
    assert_eq!(code(store.import(&[plain])), "state");
    assert_eq!(store.last_batch().unwrap(), 4);
}
