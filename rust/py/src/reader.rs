//! The reading side of a receipt log. What it finds goes to Python as JSON, which `chio_fast.log` decodes into structs.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde_json::json;

use chio_receipts::{ReceiptId, hex};
use chio_store::{
    BatchInfo, Direction, Filter, LogError, LogReader, Order, Position, PreparedBatch, State, StoredReceipt,
};

use crate::errors;
use crate::log::locate;
use crate::place::Partition;
use crate::upkeep::read_trust;

/// Reads a receipt log, also while others write.
#[pyclass(frozen, module = "chio_fast._native")]
#[derive(Debug)]
pub struct Reader {
    inner: LogReader,
}

#[pymethods]
impl Reader {
    #[staticmethod]
    fn open(py: Python<'_>, location: PathBuf) -> PyResult<Self> {
        let location = locate(py, &location)?;
        let opened = py.detach(|| LogReader::open(&location));
        opened.map(|inner| Self { inner }).map_err(|error| errors::log(py, &error))
    }

    #[getter]
    fn log_id(&self) -> &str {
        self.inner.log_id()
    }

    fn get<'py>(&self, py: Python<'py>, receipt_id: &str) -> PyResult<Bound<'py, PyBytes>> {
        let id = parse(py, receipt_id)?;
        self.ask(py, |reader| reader.get(id).map(|receipt| receipt_json(&receipt)))
    }

    #[pyo3(signature = (filters, *, newest_first, after, limit))]
    fn query<'py>(
        &self,
        py: Python<'py>,
        filters: &Bound<'py, PyDict>,
        newest_first: bool,
        after: Option<&str>,
        limit: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let filter = read_filter(filters)?;
        let after = after.map(str::parse::<Position>).transpose().map_err(|error| errors::log(py, &error))?;
        let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
        self.ask(py, |reader| {
            let page = reader.query(&filter, order, after, limit)?;
            let receipts: Vec<_> = page.receipts.iter().map(receipt_json).collect();
            let next = page.next.map(|position| position.to_string());
            Ok(format!("{{\"receipts\":[{}],\"next\":{}}}", receipts.join(","), json!(next)))
        })
    }

    fn chain<'py>(
        &self,
        py: Python<'py>,
        receipt_id: &str,
        direction: &str,
        limit: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let id = parse(py, receipt_id)?;
        let direction: Direction = direction.parse().map_err(|error| errors::log(py, &error))?;
        self.ask(py, |reader| {
            let chain = reader.chain(id, direction, limit)?;
            let nodes: Vec<_> = chain
                .receipts
                .iter()
                .map(|node| {
                    let receipt = node.receipt.as_ref().map_or_else(|| "null".to_owned(), receipt_json);
                    format!("{{\"id\":\"{}\",\"depth\":{},\"receipt\":{receipt}}}", node.id, node.depth)
                })
                .collect();
            let link = |link: &chio_store::ChainLink| {
                json!({"parent": link.parent.to_string(), "child": link.child.to_string(), "kind": link.kind.as_str()})
            };
            let links: Vec<_> = chain.links.iter().map(link).collect();
            let (nodes, truncated) = (nodes.join(","), chain.truncated);
            Ok(format!("{{\"receipts\":[{nodes}],\"links\":{},\"truncated\":{truncated}}}", json!(links)))
        })
    }

    fn batches<'py>(&self, py: Python<'py>, first: u64, limit: usize) -> PyResult<Bound<'py, PyBytes>> {
        self.ask(py, |reader| {
            let batches: Vec<_> = reader.batches(first, limit)?.iter().map(batch_json).collect();
            Ok(json!(batches).to_string())
        })
    }

    fn state(&self, py: Python<'_>, batch: u64) -> PyResult<&'static str> {
        let state = py.detach(|| self.inner.state(batch)).map_err(|error| errors::log(py, &error))?;
        Ok(state.as_str())
    }

    fn prepared<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.ask(py, |reader| {
            let batches: Vec<_> = reader.prepared()?.iter().map(prepared_json).collect();
            Ok(format!("[{}]", batches.join(",")))
        })
    }

    fn frame<'py>(&self, py: Python<'py>, batch: u64) -> PyResult<Bound<'py, PyBytes>> {
        let frame = py.detach(|| self.inner.frame(batch)).map_err(|error| errors::log(py, &error))?;
        Ok(PyBytes::new(py, &frame))
    }

    fn export<'py>(&self, py: Python<'py>, receipt_id: &str) -> PyResult<Bound<'py, PyBytes>> {
        let id = parse(py, receipt_id)?;
        self.ask(py, |reader| reader.export(id).map(|export| export.to_json()))
    }

    #[pyo3(signature = (path, *, first = 1, last = None))]
    fn export_stream(&self, py: Python<'_>, path: PathBuf, first: u64, last: Option<u64>) -> PyResult<u64> {
        let file = File::create(&path)?;
        let mut out = BufWriter::new(file);
        let written = py.detach(|| self.inner.export_stream(first..=last.unwrap_or(u64::MAX), &mut out));
        let written = written.map_err(|error| errors::log(py, &error))?;
        out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        Ok(written)
    }

    #[pyo3(signature = (trust, progress = None))]
    fn verify<'py>(
        &self,
        py: Python<'py>,
        trust: &[u8],
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let trust = read_trust(trust)?;
        let progress = progress.map(|progress| progress.clone().unbind());
        let mut failed = None;
        let mut tell = |done: u64| {
            if let Some(progress) = progress.as_ref().filter(|_| failed.is_none()) {
                failed = Python::attach(|py| progress.call1(py, (done,))).err();
            }
        };
        let report = py.detach(|| self.inner.verify(&trust, &mut tell)).map_err(|error| errors::log(py, &error))?;
        if let Some(error) = failed {
            return Err(error);
        }
        Ok(PyBytes::new(py, report_json(&report).to_string().as_bytes()))
    }

    fn highest_offset(&self, py: Python<'_>, partition: &Bound<'_, Partition>) -> PyResult<Option<i64>> {
        let Some(key) = partition.get().place.target.partition_key() else { return Ok(None) };
        py.detach(|| self.inner.highest_offset(&key)).map_err(|error| errors::log(py, &error))
    }

    fn consumed<'py>(
        &self,
        py: Python<'py>,
        partition: &Bound<'py, Partition>,
        first: u64,
        last: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let Some(key) = partition.get().place.target.partition_key() else { return Ok(PyBytes::new(py, b"[]")) };
        self.ask(py, |reader| {
            let receipts: Vec<_> = reader.consumed(&key, &(first..=last))?.iter().map(receipt_json).collect();
            Ok(format!("[{}]", receipts.join(",")))
        })
    }

    fn rebuild_index(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.rebuild_index()).map_err(|error| errors::log(py, &error))
    }
}

impl Reader {
    /// Runs `ask` without the GIL and gives its JSON text.
    fn ask<'py>(
        &self,
        py: Python<'py>,
        ask: impl FnOnce(&LogReader) -> Result<String, LogError> + Send,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let json = py.detach(|| ask(&self.inner)).map_err(|error| errors::log(py, &error))?;
        Ok(PyBytes::new(py, json.as_bytes()))
    }
}

/// Reads a receipt id that Python gave.
pub fn parse(py: Python<'_>, id: &str) -> PyResult<ReceiptId> {
    id.parse().map_err(|error: chio_receipts::id::ParseIdError| {
        errors::log(py, &LogError::Query { detail: format!("`{}` is {error}", id.escape_debug()) })
    })
}

/// The body as it was signed, with where it lies added as its last members.
fn receipt_json(receipt: &StoredReceipt) -> String {
    let body = receipt.body.strip_suffix('}').unwrap_or(&receipt.body);
    format!("{body},\"stored_at\":\"{}\",\"stored_in\":{}}}", receipt.position, batch_json(&receipt.batch))
}

fn batch_json(batch: &BatchInfo) -> serde_json::Value {
    json!({
        "batch": batch.batch,
        "issuer": batch.issuer,
        "epoch": batch.epoch,
        "first_seq": batch.first_seq,
        "count": batch.count,
        "running_count": batch.running_count,
        "min_id": batch.min_id.to_string(),
        "max_id": batch.max_id.to_string(),
        "key_id": hex::encode(&batch.key_id),
        "policy_version": hex::encode(&batch.policy_version),
        "previous": hex::encode(&batch.previous),
        "checkpoint": hex::encode(&batch.checkpoint),
        "time": batch.time,
        "state": batch.state.as_str(),
        "resolved_by": batch.resolved_by,
        "bytes": batch.bytes,
    })
}

/// The attestation is canonical JSON, and stands there as it was signed.
fn prepared_json(prepared: &PreparedBatch) -> String {
    let batch = &prepared.batch;
    let told = json!({
        "batch": batch.batch,
        "issuer": batch.issuer,
        "epoch": batch.epoch,
        "checkpoint": hex::encode(&batch.checkpoint),
        "signature": hex::encode(&prepared.signature),
        "group": prepared.group,
        "transactional_id": prepared.transactional_id,
        "time": batch.time,
        "count": batch.count,
    });
    let told = told.to_string();
    let members = told.strip_suffix('}').unwrap_or(&told);
    format!("{members},\"attestation\":{}}}", prepared.attestation.as_deref().unwrap_or("null"))
}

fn report_json(report: &chio_receipts::verify::Report) -> serde_json::Value {
    let issuers: Vec<_> = report
        .issuers
        .iter()
        .map(|issuer| {
            json!({
                "issuer": issuer.issuer,
                "epoch": issuer.epoch,
                "batches": issuer.batches,
                "running_count": issuer.running_count,
                "head": hex::encode(&issuer.head),
            })
        })
        .collect();
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "fault": finding.fault.as_str(),
                "frame": finding.frame,
                "issuer": finding.issuer,
                "epoch": finding.epoch,
                "seq": finding.seq,
                "detail": finding.detail,
            })
        })
        .collect();
    json!({
        "batches": report.frames,
        "receipts": report.receipts,
        "outcomes": report.outcomes,
        "outcomes_elsewhere": report.outcomes_elsewhere,
        "withheld": report.withheld,
        "transactions": report.transactions,
        "unresolved": report.unresolved,
        "issuers": issuers,
        "findings": findings,
        "found": report.found,
    })
}

/// Reads the keywords of a query; a word that is none of a closed vocabulary is refused.
fn read_filter(given: &Bound<'_, PyDict>) -> PyResult<Filter> {
    let mut filter = Filter::default();
    for (name, value) in given {
        if value.is_none() {
            continue;
        }
        let name: String = name.extract()?;
        let word = || value.extract::<String>();
        let unknown = || -> PyResult<PyErr> {
            let detail = format!("`{name}` is `{}`, which is none of its words", word()?.escape_debug());
            Ok(errors::log(given.py(), &LogError::Query { detail }))
        };
        macro_rules! of_list {
            ($kind:ty) => {
                Some(match <$kind>::from_word(&word()?) {
                    Some(found) => found,
                    None => return Err(unknown()?),
                })
            };
        }
        match name.as_str() {
            "kind" => filter.kind = of_list!(chio_receipts::Kind),
            "verdict" => filter.verdict = of_list!(chio_receipts::Verdict),
            "state" => filter.state = of_list!(State),
            "identity" => filter.identity = Some(word()?),
            "scope" => filter.scope = Some(word()?),
            "rule" => filter.rule = Some(word()?),
            "topic" => filter.topic = Some(word()?),
            "tool" => filter.tool = Some(word()?),
            "correlation" => filter.correlation = Some(word()?),
            "issuer" => filter.issuer = Some(word()?),
            "partition" => filter.partition = Some(value.extract()?),
            "offset" => filter.offset = Some(value.extract()?),
            "since" => filter.from = Some(value.extract()?),
            "until" => filter.until = Some(value.extract()?),
            "parent" => filter.parent = Some(parse(given.py(), &word()?)?),
            "policy_version" => match hex::decode(word()?.as_bytes()) {
                Some(version) => filter.policy_version = Some(version),
                None => return Err(unknown()?),
            },
            _ => return Err(PyTypeError::new_err(format!("a query has no filter `{name}`"))),
        }
    }
    Ok(filter)
}
