//! Logs whose batches hold ids in every order: which orders are refused depends on the modes.

use chio_receipts::{Fault, IdSource, ReceiptId, hex};
use serde_json::json;

use super::batch::Batch;
use super::faults::body;
use super::logs::{Cases, ISSUER, trust};
use super::world::{START, signer};

const RECORDED: &str = "recorded";
const ATTEMPT: &str = "attempt";
const TRANSACTION: &str = "transaction";

/// Adds the cases.
pub fn add(cases: &mut Cases) {
    let mut source = IdSource::new(ISSUER, 0);
    let ids: Vec<ReceiptId> = (0..8).map(|i| source.next(START + i)).collect();
    let later = ReceiptId::from_parts(START as u64 + 20, ids[1].tag(), ids[1].counter());
    let given = |places: &[usize]| -> Vec<ReceiptId> { places.iter().map(|place| ids[*place]).collect() };
    let mut log = |name: &str, batches: &[(&str, Vec<ReceiptId>)], faults: &[(u64, Fault)]| {
        cases.add(name, &trust(), &chained(batches), faults);
    };
    log(
        "transactions and attempts with ids below those of earlier batches",
        &[(RECORDED, given(&[4])), (TRANSACTION, given(&[1, 3])), (ATTEMPT, given(&[0, 2])), (RECORDED, given(&[5]))],
        &[],
    );
    log(
        "recorded ids below those of an earlier transaction",
        &[(TRANSACTION, given(&[3, 6])), (RECORDED, given(&[1, 2])), (RECORDED, given(&[4, 5]))],
        &[],
    );
    log(
        "recorded ids go back to before an earlier recorded batch",
        &[(RECORDED, given(&[2])), (TRANSACTION, given(&[3])), (RECORDED, given(&[1]))],
        &[(2, Fault::Id)],
    );
    log("ids of a transaction descend", &[(TRANSACTION, given(&[2, 1]))], &[(0, Fault::Id)]);
    for (first, second) in
        [(RECORDED, TRANSACTION), (TRANSACTION, RECORDED), (TRANSACTION, ATTEMPT), (ATTEMPT, TRANSACTION)]
    {
        log(
            &format!("id of a batch of mode {first} again in one of mode {second}"),
            &[(first, given(&[0, 1, 2])), (RECORDED, given(&[4])), (second, given(&[1, 3]))],
            match second {
                RECORDED => &[(2, Fault::Id), (2, Fault::Id)],
                _ => &[(2, Fault::Id)],
            },
        );
    }
    log(
        "counter of an id again at another time",
        &[(TRANSACTION, given(&[0, 1, 2])), (TRANSACTION, vec![ids[3], later])],
        &[(1, Fault::Id)],
    );
}

/// Batches of these modes and ids, one after the other.
fn chained(batches: &[(&str, Vec<ReceiptId>)]) -> Vec<Vec<u8>> {
    let (mut frames, mut previous, mut seq) = (Vec::new(), [0; 32], 0);
    for (mode, ids) in batches {
        let at = |(place, id): (usize, &ReceiptId)| body(json!({ "id": id.to_string(), "seq": seq + place }));
        let bodies: Vec<String> = ids.iter().enumerate().map(at).collect();
        let names = |name: &str| (*mode == TRANSACTION).then(|| name.to_owned());
        let changes = json!({
            "mode": mode, "group": names("billing"), "transactional_id": names("billing-0"),
            "first_seq": seq, "running_count": seq + ids.len(), "previous": hex::encode(&previous),
        });
        let batch = Batch::new(&signer(1), ISSUER, &bodies, changes);
        previous = batch.hash();
        seq += ids.len();
        frames.push(batch.frame());
    }
    frames
}
