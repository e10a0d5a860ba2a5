//! The one metrics recorder of a process.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use std::time::Duration;

/// Upper edges of every histogram whose name ends in `_seconds`: 50 µs to 10 s.
const SECONDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Why there is no recorder.
#[derive(Debug, thiserror::Error)]
#[error("cannot install the metrics recorder: {0}")]
pub struct TelemetryError(String);

/// Installs the process's recorder at the first call, and gives its handle at every call: all roles
/// of one process share it.
///
/// # Errors
/// When another library installed its own recorder before.
pub fn metrics_handle() -> Result<PrometheusHandle, TelemetryError> {
    let mut slot = HANDLE.lock();
    if let Some(handle) = slot.as_ref() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| TelemetryError(error.to_string()))?;
    let upkeep = handle.clone();
    // Samples are folded into buckets by upkeep; without it they would pile up until someone scrapes.
    std::thread::Builder::new()
        .name("metrics-upkeep".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(5));
                upkeep.run_upkeep();
            }
        })
        .map_err(|error| TelemetryError(error.to_string()))?;
    *slot = Some(handle.clone());
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_gives_the_same_recorder() {
        let first = metrics_handle().unwrap();
        let second = metrics_handle().unwrap();
        metrics::counter!("earnest_test_total").increment(2);
        metrics::histogram!("earnest_test_seconds").record(0.003);
        assert!(first.render().contains("earnest_test_total 2"));
        let text = second.render();
        assert!(text.contains("earnest_test_total 2"));
        assert!(text.contains("earnest_test_seconds_bucket{le=\"0.005\"} 1"), "{text}");
    }
}
