//! What a tenant's tasks take of the processors: measured at each poll, and taken where nobody else wants it.
//!
//! A task of a tenant that takes more than others do goes on on a thread that the system runs last, until its tenant no longer does: however
//! many components compute without end, the operating system lets the short runs of others go first. Knows no guest: `state.rs` says when
//! one is found running.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::engine::TICK;
use super::share::{Account, CpuShare, Shares};

/// What a tenant has of the processors.
#[derive(Clone)]
pub struct Cpu {
    shares: Arc<Shares>,
    account: Arc<Account>,
}

/// The task that this thread polls.
struct Polled {
    cpu: Cpu,
    /// The thread's processor time up to which was paid.
    paid: Duration,
}

thread_local! {
    static POLLED: RefCell<Option<Polled>> = const { RefCell::new(None) };
}

impl Cpu {
    pub(super) fn new(shares: &Arc<Shares>, tenant: &str) -> Self {
        Self {
            shares: shares.clone(),
            account: shares.of(tenant),
        }
    }

    /// What the tenant may take from now on.
    pub fn set(&self, share: CpuShare) {
        self.account.set(share);
    }

    /// Does the tenant's work in the caller's task.
    pub async fn pay_for<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|context| self.polls(|| work.as_mut().poll(context)).0).await
    }

    /// A task of the tenant, to be spawned. Dropped, it ends soon after: at once, or when it next waits.
    pub async fn task<T: Send + 'static>(
        self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let mut task = Task {
            cpu: self,
            work: Box::pin(work),
            took: Duration::ZERO,
        };
        loop {
            if let Some(done) = task.until(Task::is_heavy).await {
                return done;
            }
            match task.on_a_thread_that_gives_way().await {
                Ok(done) => return done,
                Err(light) => task = light,
            }
        }
    }

    /// One poll, and the processor time that it took.
    fn polls<T>(&self, poll: impl FnOnce() -> T) -> (T, Duration) {
        let is_paid_for = POLLED.with_borrow(Option::is_some);
        if is_paid_for {
            return (poll(), Duration::ZERO);
        }
        let begun = thread_time();
        let polled = Polled {
            cpu: self.clone(),
            paid: begun,
        };
        POLLED.set(Some(polled));
        let _end = EndOfPoll;
        (poll(), thread_time().saturating_sub(begun))
    }
}

/// Pays, also where a poll panics.
struct EndOfPoll;

impl Drop for EndOfPoll {
    fn drop(&mut self) {
        if let Some(mut polled) = POLLED.take() {
            polled.pay();
        }
    }
}

impl Polled {
    fn pay(&mut self) {
        let now = thread_time();
        let took = now.saturating_sub(self.paid);
        self.paid = now;
        self.cpu.shares.charge(&self.cpu.account, took);
    }
}

/// What the guest is to wait for that this thread was found running.
pub fn pause() -> Option<impl Future<Output = ()> + Send> {
    POLLED.with_borrow_mut(|polled| {
        let polled = polled.as_mut()?;
        polled.pay();
        polled.cpu.shares.pause(&polled.cpu.account)
    })
}

struct Task<T> {
    cpu: Cpu,
    work: Pin<Box<dyn Future<Output = T> + Send>>,
    took: Duration,
}

impl<T: Send + 'static> Task<T> {
    /// A task that took less than a tick is not worth moving.
    fn is_heavy(&self) -> bool {
        self.took >= TICK && self.cpu.shares.is_heavy(&self.cpu.account)
    }

    fn is_light(&self) -> bool {
        !self.is_heavy()
    }

    /// Goes on until the work is done, or `ends`.
    async fn until(&mut self, ends: fn(&Self) -> bool) -> Option<T> {
        std::future::poll_fn(|context| self.poll(context, ends)).await
    }

    fn poll(&mut self, context: &mut Context<'_>, ends: fn(&Self) -> bool) -> Poll<Option<T>> {
        if ends(self) {
            return Poll::Ready(None);
        }
        let work = &mut self.work;
        let (polled, took) = self.cpu.polls(|| work.as_mut().poll(context));
        self.took += took;
        match polled {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if ends(self) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Goes on elsewhere until the work is done, or its tenant is heavy no more. Where there is no thread for it, it stays what it is.
    async fn on_a_thread_that_gives_way(self) -> Result<T, Self> {
        let (sender, receiver) = oneshot::channel();
        let runtime = Handle::current();
        // Where no thread begins, the task is still here.
        let place = Arc::new(Mutex::new(Some((self, sender))));
        let there = place.clone();
        let thread = std::thread::Builder::new()
            .name("gives-way".to_owned())
            .spawn(move || {
                give_way();
                if let Some((task, sender)) = take(&there) {
                    runtime.block_on(task.gives_way(sender));
                }
            });
        if thread.is_err()
            && let Some((mut task, _)) = take(&place)
        {
            task.took = Duration::ZERO;
            return Err(task);
        }
        match receiver.await {
            Ok(ended) => ended,
            // The thread has said why.
            Err(_) => resume_unwind(Box::new("the work panicked")),
        }
    }

    async fn gives_way(mut self, mut sender: oneshot::Sender<Result<T, Self>>) {
        let ended = tokio::select! {
            biased;
            () = sender.closed() => return,
            ended = self.until(Self::is_light) => ended,
        };
        // Whoever is gone needs no answer.
        let _ = sender.send(ended.ok_or(self));
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// From now on this thread runs where no other thread wants to, and is interrupted at once where one does (`SCHED_IDLE` of Linux).
/// Where the system refuses that, it has the priority of others.
#[allow(unsafe_code)]
fn give_way() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call reads the parameter, and nothing else of ours; 0 is the calling thread.
    unsafe {
        libc::sched_setscheduler(
            0,
            libc::SCHED_IDLE,
            &libc::sched_param { sched_priority: 0 },
        );
    }
}

/// The processor time of this thread.
fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::task::yield_now;

    use super::*;

    /// A tenant that took a lot, beside another one.
    fn heavy() -> (Arc<Shares>, Cpu, Cpu) {
        let shares = Arc::<Shares>::default();
        let (heavy, light) = (Cpu::new(&shares, "heavy"), Cpu::new(&shares, "light"));
        shares.charge(&heavy.account, Duration::from_secs(1_000));
        (shares, heavy, light)
    }

    async fn compute() {
        let end = Instant::now() + 3 * TICK;
        while Instant::now() < end {}
        yield_now().await;
    }

    fn is_apart() -> bool {
        std::thread::current().name() == Some("gives-way")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_task_of_a_heavy_tenant_is_on_a_thread_of_its_own_until_others_are_heavier() {
        let (shares, heavy, light) = heavy();
        let other = light.account.clone();
        let work = async move {
            let mut found = vec![is_apart()];
            compute().await;
            found.push(is_apart());
            shares.charge(&other, Duration::from_secs(100_000));
            compute().await;
            found.push(is_apart());
            found
        };
        let found = tokio::spawn(heavy.task(work)).await.unwrap();
        assert_eq!(found, [false, true, false]);
        let work = async {
            compute().await;
            is_apart()
        };
        assert!(tokio::spawn(light.task(work)).await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_poll_takes_is_paid_for_once() {
        let (shares, _, light) = heavy();
        let cpu = light.clone();
        let inner = light.clone();
        tokio::spawn(cpu.task(async move {
            inner.pay_for(compute()).await;
            assert!(pause().is_none());
            compute().await;
        }))
        .await
        .unwrap();
        let taken = shares.taken(&light.account);
        // Six ticks, less what the machine gave to others.
        assert!((0.001..=0.2).contains(&taken), "{taken}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_there_ends_the_task_and_so_does_its_end() {
        let (_, heavy, _) = heavy();
        let work = async {
            compute().await;
            assert!(!is_apart(), "as is right");
        };
        let ended = tokio::spawn(heavy.clone().task(work)).await;
        assert!(ended.unwrap_err().is_panic());

        let (sender, dropped) = oneshot::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let work = async move {
            let _sender = sender;
            compute().await;
            begun.send(is_apart()).unwrap();
            std::future::pending::<()>().await;
        };
        let task = tokio::spawn(heavy.task(work));
        assert!(has_begun.await.unwrap());
        task.abort();
        assert!(dropped.await.is_err());
    }
}
