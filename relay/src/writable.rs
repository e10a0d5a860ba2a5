//! Whether the journal takes writes, known without waiting for those that it is taking.

use earnest_journal::AppendError;
use parking_lot::RwLock;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the journal is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long its answer is believed: longer than an ordinary write, which it has to wait for.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// The journal's last answer.
#[derive(Debug)]
pub(crate) struct Writable {
    last: RwLock<(Instant, Result<(), String>)>,
}

impl Writable {
    /// What the journal said just now.
    pub(crate) fn new(answer: Result<(), AppendError>) -> Self {
        Self { last: RwLock::new((Instant::now(), told(answer))) }
    }

    /// What the journal said last. Never waits.
    ///
    /// # Errors
    /// Why it takes nothing, or that it has not said for a second.
    pub(crate) fn get(&self) -> Result<(), String> {
        let last = self.last.read();
        if last.0.elapsed() >= BELIEVED_FOR {
            return Err("the journal is busy with one write".to_owned());
        }
        last.1.clone()
    }

    /// Asks the journal, which may block, again and again until shutdown; never twice at once.
    pub(crate) async fn watch(
        &self,
        ask: impl Fn() -> Result<(), AppendError> + Clone + Send + 'static,
        shutdown: CancellationToken,
    ) {
        loop {
            let asking = tokio::task::spawn_blocking(ask.clone());
            tokio::select! {
                () = shutdown.cancelled() => return,
                answer = asking => if let Ok(answer) = answer { self.learn(answer) },
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }

    fn learn(&self, answer: Result<(), AppendError>) {
        let answer = told(answer);
        let mut last = self.last.write();
        if let Err(error) = &answer
            && last.1 != answer
        {
            tracing::error!(error, "the journal takes no writes");
        }
        *last = (Instant::now(), answer);
    }
}

fn told(answer: Result<(), AppendError>) -> Result<(), String> {
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
        let writable = Arc::new(Writable::new(Ok(())));
        let stop = CancellationToken::new();
        let (watched, token) = (Arc::clone(&writable), stop.clone());
        let watching = tokio::spawn(async move { watched.watch(ask, token).await });

        asks.recv().await.unwrap();
        assert!((0..10_000).all(|_| writable.get().is_ok()), "believed while a write goes on");
        tokio::time::advance(BELIEVED_FOR).await;
        assert!((0..10_000).all(|_| writable.get().is_err()), "but not for long");
        assert!(asks.try_recv().is_err(), "one question at a time, however many readers");

        answer.send(Ok(())).unwrap();
        asks.recv().await.unwrap();
        assert_eq!(writable.get(), Ok(()));
        answer.send(Err(AppendError::Failed)).unwrap();
        asks.recv().await.unwrap();
        assert_eq!(writable.get(), Err(AppendError::Failed.to_string()));
        stop.cancel();
        watching.await.unwrap();
        drop(answer);
    }
}
