//! Whether the journal takes writes, and how much room it has, known without waiting for those that it is taking.

use earnest_journal::AppendError;
use parking_lot::RwLock;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How often the journal is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long its answer is believed: longer than an ordinary write, which it has to wait for.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// The journal's last answer: bytes free on its disk, or why it takes nothing.
#[derive(Debug)]
pub(crate) struct Writable {
    last: RwLock<(Instant, Result<u64, String>)>,
}

impl Writable {
    /// What the journal said just now.
    pub(crate) fn new(answer: Result<u64, AppendError>) -> Self {
        Self { last: RwLock::new((Instant::now(), told(answer))) }
    }

    /// What the journal said last. Never waits.
    ///
    /// # Errors
    /// Why it takes nothing, or that it has not said for a second.
    pub(crate) fn room(&self) -> Result<u64, String> {
        let last = self.last.read();
        if last.0.elapsed() >= BELIEVED_FOR {
            return Err("the journal is busy with one write".to_owned());
        }
        last.1.clone()
    }

    /// Asks the journal, which may block, again and again until shutdown; never twice at once. `tell` is called when there
    /// is an answer, and when there is none for long.
    pub(crate) async fn watch(
        &self,
        ask: impl Fn() -> Result<u64, AppendError> + Clone + Send + 'static,
        tell: impl Fn() + Send,
        shutdown: CancellationToken,
    ) {
        loop {
            let mut asking = tokio::task::spawn_blocking(ask.clone());
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    answer = &mut asking => {
                        if let Ok(answer) = answer {
                            *self.last.write() = (Instant::now(), told(answer));
                        }
                        break;
                    }
                    () = sleep(BELIEVED_FOR) => tell(),
                }
            }
            tell();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(ASK_EVERY) => {}
            }
        }
    }
}

fn told(answer: Result<u64, AppendError>) -> Result<u64, String> {
    answer.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::{Arc, mpsc};
    use tokio::sync::mpsc::unbounded_channel;

    #[tokio::test(start_paused = true)]
    async fn readers_wait_for_no_write() {
        let (answer, answers) = mpsc::channel();
        let (asked, mut asks) = unbounded_channel();
        let answers = Arc::new(Mutex::new(answers));
        let ask = move || {
            asked.send(()).unwrap();
            answers.lock().recv().unwrap_or(Err(AppendError::Closed))
        };
        let writable = Arc::new(Writable::new(Ok(7)));
        let said = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let (watched, token) = (Arc::clone(&writable), stop.clone());
        let (asked_for, noted) = (Arc::clone(&writable), Arc::clone(&said));
        let tell = move || noted.lock().push(asked_for.room().is_ok());
        let watching = tokio::spawn(async move { watched.watch(ask, tell, token).await });

        asks.recv().await.unwrap();
        assert!((0..10_000).all(|_| writable.room().is_ok()), "believed while a write goes on");
        tokio::time::advance(BELIEVED_FOR).await;
        assert!((0..10_000).all(|_| writable.room().is_err()), "but not for long");
        assert!(asks.try_recv().is_err(), "one question at a time, however many readers");

        answer.send(Ok(5)).unwrap();
        asks.recv().await.unwrap();
        assert_eq!(writable.room(), Ok(5));
        answer.send(Err(AppendError::Failed)).unwrap();
        asks.recv().await.unwrap();
        assert_eq!(writable.room(), Err(AppendError::Failed.to_string()));
        let said = said.lock().clone();
        assert!(
            said.contains(&false) && said.ends_with(&[true, false]),
            "a hang and a refusal are told: {said:?}"
        );
        stop.cancel();
        watching.await.unwrap();
        drop(answer);
    }
}
