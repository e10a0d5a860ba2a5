//! Turns at work that keeps a processor busy, so that one kind of it leaves room for the others.

use crate::api::blocking;
use earnest_http::ApiError;
use http::StatusCode;
use std::{sync::Arc, thread::available_parallelism, time::Duration};
use tokio::sync::Semaphore;

/// How long work waits for its turn.
const WAIT: Duration = Duration::from_secs(1);
/// Turns at once where the operator sets no number: this many for each core, and at least [`LEAST`].
const PER_CORE: usize = 2;
const LEAST: usize = 4;

/// Work of one kind, so much of it at once.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
}

impl Turns {
    /// So many at once; 0 is twice the cores, and at least 4.
    pub(crate) fn new(at_once: usize) -> Self {
        let usual = || available_parallelism().map_or(LEAST, usize::from).saturating_mul(PER_CORE).max(LEAST);
        let at_once = if at_once == 0 { usual() } else { at_once };
        Self { free: Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))) }
    }

    /// Runs work off the threads that serve. Its turn ends with it, also if nobody waits for it any more.
    ///
    /// # Errors
    /// 503 `busy` if no turn came within a second.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = tokio::time::timeout(WAIT, Arc::clone(&self.free).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let message = "the relay checks as many blocks as it can: try again";
            return Err(ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(1));
        };
        blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Without turns the submissions would have every thread, and the blinded block would queue behind all of them.
    #[test]
    fn a_blinded_block_starts_while_submissions_saturate() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .max_blocking_threads(3)
            .build()
            .unwrap();
        runtime.block_on(async {
            let turns = Arc::new(Turns::new(2));
            let (ends, started) = (Arc::new(std::sync::Barrier::new(3)), mpsc::channel());
            let submission = || {
                let (turns, ends, started) = (Arc::clone(&turns), Arc::clone(&ends), started.0.clone());
                tokio::spawn(
                    async move { turns.run(move || (started.send(()), ends.wait())).await.map(drop) },
                )
            };
            let working = [submission(), submission()];
            while turns.free.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            let waiting: Vec<_> = (0..64).map(|_| submission()).collect();
            assert_eq!(blocking(|| "unblinded").await.unwrap(), "unblinded");
            // Not once: those that had not begun to wait by then would wait for ever.
            while !waiting.iter().all(tokio::task::JoinHandle::is_finished) {
                tokio::time::advance(WAIT).await;
            }
            for refused in waiting {
                let error = refused.await.unwrap().unwrap_err();
                assert_eq!((error.status.as_u16(), error.retry_after), (503, Some(1)));
                assert_eq!(error.body()["code"], "busy");
            }
            started.1.recv().unwrap();
            started.1.recv().unwrap();
            assert!(started.1.try_recv().is_err(), "only those with a turn began");
            ends.wait();
            for submission in working {
                submission.await.unwrap().unwrap();
            }
            assert_eq!(turns.free.available_permits(), 2);
        });
    }

    #[test]
    fn none_set_is_by_the_cores() {
        assert!(Turns::new(0).free.available_permits() >= LEAST);
        assert_eq!(Turns::new(1).free.available_permits(), 1);
    }
}
