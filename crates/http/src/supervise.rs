//! Tasks that may not end before their role does (design §10).

use parking_lot::Mutex;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The first task that ended on its own, which ends the role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {name} ended: {cause}")]
pub struct TaskEnded {
    /// The task's name.
    pub name: &'static str,
    /// Its error, `panicked`, or `returned`.
    pub cause: String,
}

/// The tasks of a role. Cloning shares them. Every one runs until the token is cancelled; one that ends
/// before cancels it, so that the role ends rather than limping on.
#[derive(Clone, Debug)]
pub struct Supervisor {
    tracker: TaskTracker,
    token: CancellationToken,
    first: Arc<Mutex<Option<TaskEnded>>>,
}

impl Supervisor {
    /// No tasks yet. Cancelling `token` ends the role; the supervisor cancels only its own child of it.
    pub fn new(token: &CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), token: token.child_token(), first: Arc::default() }
    }

    /// The token that tasks watch.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a task that should end only after the token is cancelled.
    pub fn spawn<F, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let supervisor = self.clone();
        let running = tokio::spawn(task);
        self.tracker.spawn(async move {
            let cause = match running.await {
                Ok(Ok(())) if supervisor.token.is_cancelled() => return,
                Ok(Ok(())) => "returned".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) if error.is_panic() => "panicked".to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::error!(task = name, cause, "a task ended, and with it the role");
            supervisor.first.lock().get_or_insert(TaskEnded { name, cause });
            supervisor.token.cancel();
        });
    }

    /// Runs a piece of work that may end at any time but that shutdown waits for.
    pub fn detach<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(work)
    }

    /// Waits until the token is cancelled and every task has ended.
    ///
    /// # Errors
    /// The first task that ended on its own.
    pub async fn join(self) -> Result<(), TaskEnded> {
        self.token.cancelled().await;
        self.tracker.close();
        self.tracker.wait().await;
        let ended = self.first.lock().take();
        ended.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    async fn until(token: CancellationToken) -> Result<(), Infallible> {
        token.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn cancelling_the_parent_is_a_clean_end() {
        let parent = CancellationToken::new();
        let supervisor = Supervisor::new(&parent);
        supervisor.spawn("a", until(supervisor.token()));
        supervisor.spawn("b", until(supervisor.token()));
        parent.cancel();
        assert_eq!(supervisor.join().await, Ok(()));
    }

    #[tokio::test]
    async fn a_task_that_ends_ends_the_others_but_not_the_parent() {
        type End = fn() -> Result<(), &'static str>;
        let cases: [(&str, End); 3] =
            [("returned", || Ok(())), ("no disk", || Err("no disk")), ("panicked", || panic!("defect"))];
        for (cause, end) in cases {
            let parent = CancellationToken::new();
            let supervisor = Supervisor::new(&parent);
            supervisor.spawn("steady", until(supervisor.token()));
            supervisor.spawn("short", async move { end() });
            let ended = supervisor.join().await.unwrap_err();
            assert_eq!(ended, TaskEnded { name: "short", cause: cause.to_owned() });
            assert!(!parent.is_cancelled());
        }
    }

    #[tokio::test]
    async fn shutdown_waits_for_detached_work() {
        let parent = CancellationToken::new();
        let supervisor = Supervisor::new(&parent);
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let done = Arc::new(Mutex::new(false));
        let mark = Arc::clone(&done);
        supervisor.detach(async move {
            released.await.unwrap();
            *mark.lock() = true;
        });
        parent.cancel();
        let joined = tokio::spawn(supervisor.join());
        tokio::task::yield_now().await;
        assert!(!joined.is_finished());
        release.send(()).unwrap();
        joined.await.unwrap().unwrap();
        assert!(*done.lock());
    }
}
