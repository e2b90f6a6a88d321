//! Says what this crate's verifier makes of documents on standard input, for tests that hold another verifier to it.
//!
//! Each line is a JSON object: {"trust": text, "export": text} or {"trust": text, "log": hexadecimal, "partial": bool};
//! texts are hexadecimal too, so that they may be any bytes. Each line of the answer is a JSON object.

use std::io::{BufRead, Write};

use chio_receipts::verify::{self, LogVerifier, Report};
use chio_receipts::{Export, Trust, hex};
use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let question: Value = serde_json::from_str(&line?)?;
        writeln!(out, "{}", answer(&question))?;
        out.flush()?;
    }
    Ok(())
}

fn answer(question: &Value) -> Value {
    let bytes = |name: &str| question.get(name).and_then(Value::as_str).and_then(unhex);
    let trust = match Trust::from_json(&bytes("trust").unwrap_or_default()) {
        Ok(trust) => trust,
        Err(error) => return json!({ "trust": error.to_string() }),
    };
    if let Some(export) = bytes("export") {
        return receipt(&export, &trust);
    }
    let partial = question.get("partial").and_then(Value::as_bool).unwrap_or(false);
    let mut verifier = LogVerifier::new(&trust);
    if partial {
        verifier = verifier.partial();
    }
    verifier.feed_stream(&bytes("log").unwrap_or_default());
    log(&verifier.finish())
}

fn receipt(export: &[u8], trust: &Trust) -> Value {
    let export = match Export::from_json(export) {
        Ok(export) => export,
        Err(detail) => return json!({ "fault": "document", "detail": detail }),
    };
    match verify::receipt(&export, trust) {
        Err(error) => json!({ "fault": error.fault.as_str(), "detail": error.detail }),
        Ok(verified) => json!({
            "id": verified.id.map(|id| id.to_string()),
            "issuer": verified.checkpoint.issuer,
            "epoch": verified.checkpoint.epoch,
            "seq": verified.seq,
            "checkpoint_hash": hex::encode(&verified.checkpoint_hash),
            "state": verified.state.as_str(),
        }),
    }
}

fn log(report: &Report) -> Value {
    let finding = |finding: &verify::Finding| {
        json!([finding.frame, finding.fault.as_str(), finding.issuer, finding.epoch, finding.seq])
    };
    let issuer = |issuer: &verify::IssuerReport| {
        json!([issuer.issuer, issuer.epoch, issuer.batches, issuer.running_count, hex::encode(&issuer.head)])
    };
    json!({
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "issuers": report.issuers.iter().map(issuer).collect::<Vec<_>>(),
        "frames": report.frames,
        "receipts": report.receipts,
        "outcomes": report.outcomes,
        "outcomes_elsewhere": report.outcomes_elsewhere,
        "withheld": report.withheld,
        "transactions": report.transactions,
        "unresolved": report.unresolved,
        "found": report.found,
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| hex::decode::<1>(pair).map(|[byte]| byte)).collect()
}
