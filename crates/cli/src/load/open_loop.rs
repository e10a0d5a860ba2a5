//! Requests at a fixed rate, each sent when it is due whatever became of those before.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::task::TaskTracker;

use crate::failure::Failure;

/// Longest time told apart from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;

/// How fast, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Requests a second.
    pub(crate) rate: u64,
    /// Requests in all.
    pub(crate) total: u64,
    /// Requests in flight at most; more are counted as errors, not sent.
    pub(crate) in_flight: usize,
}

/// What came of the requests.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Nanoseconds from the instant a request was due to the end of its answer, of those that succeeded.
    pub(crate) times: Histogram<u64>,
    /// Those that failed or were not sent.
    pub(crate) errors: u64,
    /// The first failure.
    pub(crate) first_error: Option<String>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
}

/// A histogram's summary, milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
}

impl Measured {
    /// Nothing measured yet.
    pub(crate) fn nothing() -> Result<Self, Failure> {
        let times =
            Histogram::new_with_max(LONGEST_NS, 3).map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self { times, errors: 0, first_error: None, elapsed: Duration::ZERO })
    }

    fn record(&mut self, due: Instant, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                let nanos = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.times.saturating_record(nanos);
            }
            Err(error) => {
                self.errors = self.errors.saturating_add(1);
                self.first_error.get_or_insert(error);
            }
        }
    }

    /// Adds what another part of the same run measured.
    pub(crate) fn add(&mut self, other: &Self) {
        // Never fails: both have the same bounds.
        let _ = self.times.add(&other.times);
        self.errors = self.errors.saturating_add(other.errors);
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
        self.elapsed = self.elapsed.saturating_add(other.elapsed);
    }

    /// Requests that succeeded.
    pub(crate) fn ok(&self) -> u64 {
        self.times.len()
    }

    /// Successes a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.ok() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The time within which this part of the successes was answered, milliseconds.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.times.value_at_quantile(quantile) as f64 / 1e6
    }

    /// The quantiles that reports show.
    pub(crate) fn quantiles(&self) -> Quantiles {
        Quantiles {
            p50_ms: self.quantile_ms(0.5),
            p99_ms: self.quantile_ms(0.99),
            p999_ms: self.quantile_ms(0.999),
        }
    }
}

/// Makes request number 0, 1, 2 …, each when it is due, and waits for the answers.
///
/// # Errors
/// Only if there is no memory or no thread for it; failed requests are counted.
pub(crate) async fn run<Make, Sent>(pace: Pace, request: Make) -> Result<Measured, Failure>
where
    Make: Fn(u64) -> Sent + Send + 'static,
    Sent: Future<Output = Result<(), String>> + Send + 'static,
{
    let measured = Arc::new(Mutex::new(Measured::nothing()?));
    let tasks = TaskTracker::new();
    let start = Instant::now();
    let (runtime, answers, spawned) = (Handle::current(), Arc::clone(&measured), tasks.clone());
    // On a thread of its own, since the runtime's timer counts whole milliseconds.
    let paced = tokio::task::spawn_blocking(move || {
        wake_on_time();
        let slots = Arc::new(Semaphore::new(pace.in_flight));
        let gap = Duration::from_secs_f64(1.0 / pace.rate.max(1) as f64);
        let mut due = start;
        for number in 0..pace.total {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let (sent, answers) = (request(number), Arc::clone(&answers));
                    spawned.spawn_on(
                        async move {
                            let outcome = sent.await;
                            lock(&answers).record(due, outcome);
                            drop(slot);
                        },
                        &runtime,
                    );
                }
                Err(_) => lock(&answers).record(due, Err("too many requests in flight".to_owned())),
            }
            due = due.checked_add(gap).unwrap_or(due);
        }
    });
    paced.await.map_err(|error| Failure::new(error.to_string()))?;
    tasks.close();
    tasks.wait().await;
    let mut measured = lock(&measured).clone();
    measured.elapsed = start.elapsed();
    Ok(measured)
}

/// Lets this thread's sleeps end when they should; by default Linux adds up to 50 µs, which would count as the server's
/// time.
fn wake_on_time() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::debug!(%error, "sleeps stay imprecise");
    }
}

fn lock(measured: &Mutex<Measured>) -> std::sync::MutexGuard<'_, Measured> {
    measured.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_request_is_counted_once() {
        let pace = Pace { rate: 10_000, total: 200, in_flight: 200 };
        let measured = run(pace, |number| async move {
            if number % 4 == 0 { Err("every fourth".to_owned()) } else { Ok(()) }
        });
        let measured = measured.await.unwrap();
        assert_eq!((measured.ok(), measured.errors), (150, 50));
        assert_eq!(measured.first_error.as_deref(), Some("every fourth"));
    }

    #[tokio::test]
    async fn what_finds_no_place_is_an_error_and_is_not_sent() {
        let pace = Pace { rate: 10_000, total: 5, in_flight: 0 };
        let measured = run(pace, |number| async move { unreachable!("{number} was sent") });
        let measured = measured.await.unwrap();
        assert_eq!((measured.ok(), measured.errors), (0, 5));
        assert_eq!(measured.first_error.as_deref(), Some("too many requests in flight"));
    }

    #[test]
    fn parts_of_a_run_add_up() {
        let mut all = Measured::nothing().unwrap();
        let now = Instant::now();
        for outcome in [Ok(()), Err("first".to_owned()), Err("second".to_owned())] {
            let mut part = Measured::nothing().unwrap();
            part.elapsed = Duration::from_secs(1);
            part.record(now, outcome);
            all.add(&part);
        }
        assert_eq!((all.ok(), all.errors, all.elapsed), (1, 2, Duration::from_secs(3)));
        assert_eq!(all.first_error.as_deref(), Some("first"));
    }
}
