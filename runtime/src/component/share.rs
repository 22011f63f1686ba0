//! How the guests of several tenants share the processors.
//!
//! What a tenant's tasks take is paid for from its account. While guests want all processors, the account of a tenant that lately took
//! more than another one for its weight is refilled at half of its weight's part of them: whoever computes little is hardly held up by
//! whoever computes without end. A guest that is found running at an epoch pauses, where its account is empty.
//!
//! Knows no job and no run; `cpu.rs` measures what is taken, and moves tasks of heavy tenants to threads that give way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::engine::TICK;

/// A tenant that did nothing for this long leaves its part to others.
const IDLE_AFTER: Duration = Duration::from_millis(50);

/// A tenant that did nothing for this long is not one of those that a heavy one is compared with.
const AWAY_AFTER: Duration = Duration::from_secs(1);

/// The account of a tenant that did nothing for this long, and has no run, is closed.
const CLOSED_AFTER: Duration = Duration::from_secs(60);

/// How fast it is forgotten what a tenant took, as the time after which some third is left.
const MEMORY: Duration = Duration::from_secs(5);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How often a guest that pauses looks whether anybody else computes.
const LOOK: Duration = Duration::from_millis(20);

/// How long guests are counted for.
const STRETCH: Duration = Duration::from_millis(100);

/// The part of the processors from which on they count as all of them.
const FULL: f64 = 0.9;

/// What an account can hold, in seconds of one processor.
const CREDIT: f64 = 0.05;

/// What it can be short of. Work of the host goes on until an epoch finds a guest; what was taken while nobody else was there is then no
/// reason to hold the tenant up for long.
const DEBT: f64 = 1.0;

/// What a tenant may take of the processors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuShare {
    pub weight: u32,
    /// Processors at most, whoever else computes.
    pub most: Option<f64>,
}

impl Default for CpuShare {
    fn default() -> Self {
        Self {
            weight: 1,
            most: None,
        }
    }
}

/// The accounts of all tenants.
pub struct Shares {
    begun: Instant,
    cores: f64,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
    demand: Mutex<Demand>,
    level: Mutex<Level>,
    /// Guests that pause.
    paused: AtomicUsize,
}

/// What a tenant may have taken lately for its weight without being a heavy one, in seconds of one processor, as it was found at a time.
#[derive(Default)]
struct Level {
    at: Duration,
    seconds: f64,
}

/// How many guests were found running, in this stretch of time and in the one before.
#[derive(Default)]
struct Demand {
    stretch: u128,
    now: u32,
    before: u32,
}

/// The account of a tenant, which its instances share.
pub struct Account {
    /// When it computed last, in microseconds since the beginning.
    last: AtomicU64,
    balance: Mutex<Balance>,
}

struct Balance {
    share: CpuShare,
    /// Seconds of one processor.
    left: f64,
    refilled: Duration,
    /// What was taken lately, in seconds of one processor.
    taken: f64,
    charged: Duration,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            cores: std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64),
            accounts: Mutex::default(),
            demand: Mutex::default(),
            level: Mutex::default(),
            paused: AtomicUsize::new(0),
        }
    }
}

impl Shares {
    /// The account of a tenant.
    pub fn of(&self, tenant: &str) -> Arc<Account> {
        let now = self.begun.elapsed();
        let mut accounts = lock(&self.accounts);
        if let Some(account) = accounts.get(tenant) {
            return account.clone();
        }
        accounts.retain(|_, other| Arc::strong_count(other) > 1 || other.since(now) < CLOSED_AFTER);
        let account = Arc::new(Account {
            last: AtomicU64::new(micros(now)),
            balance: Mutex::new(Balance {
                share: CpuShare::default(),
                left: CREDIT,
                refilled: now,
                taken: 0.0,
                charged: now,
            }),
        });
        accounts.insert(tenant.to_owned(), account.clone());
        account
    }

    /// The tenant took something, and is here.
    pub fn charge(&self, account: &Account, took: Duration) {
        let now = self.begun.elapsed();
        account.touch(now);
        if !took.is_zero() {
            lock(&account.balance).charge(took, now);
        }
    }

    /// How long a guest is to pause whose tenant has nothing left: for as long as what this gives lasts.
    pub fn pause(
        self: &Arc<Self>,
        account: &Arc<Account>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let pause = self.pause_at(account, self.begun.elapsed())?;
        let most = lock(&account.balance).share.most;
        let (paused, account) = (Paused::new(self.clone()), account.clone());
        Some(async move {
            let end = tokio::time::Instant::now() + pause;
            while tokio::time::Instant::now() < end {
                tokio::time::sleep_until(end.min(tokio::time::Instant::now() + LOOK)).await;
                if most.is_none() && paused.0.is_alone(&account) {
                    break;
                }
            }
        })
    }

    /// What the tenant took lately, in seconds of one processor.
    #[cfg(test)]
    pub fn taken(&self, account: &Account) -> f64 {
        lock(&account.balance).taken_at(self.begun.elapsed())
    }

    /// Whether the tenant lately took more than others do: than the mean of those that are here, and of one that comes.
    pub fn is_heavy(&self, account: &Account) -> bool {
        self.is_heavy_at(account, self.begun.elapsed())
    }

    fn is_heavy_at(&self, account: &Account, now: Duration) -> bool {
        let level = self.level(now);
        lock(&account.balance).for_its_weight(now) > level
    }

    fn level(&self, now: Duration) -> f64 {
        let mut level = lock(&self.level);
        if now.saturating_sub(level.at) < TICK {
            return level.seconds;
        }
        let (mut sum, mut present) = (0.0, 1.0);
        let accounts = lock(&self.accounts);
        for account in accounts.values().filter(|one| !one.is_away(now)) {
            sum += lock(&account.balance).for_its_weight(now);
            present += 1.0;
        }
        level.at = now;
        level.seconds = match accounts.len() {
            ..=1 => f64::INFINITY,
            _ => (sum / present).max(CREDIT),
        };
        level.seconds
    }

    /// Whether no other tenant computes.
    fn is_alone(&self, account: &Arc<Account>) -> bool {
        let now = self.begun.elapsed();
        let accounts = lock(&self.accounts);
        let mut others = accounts
            .values()
            .filter(|other| !Arc::ptr_eq(other, account));
        others.all(|other| other.is_idle(now))
    }

    /// Whether guests want all processors.
    fn is_full(&self, now: Duration) -> bool {
        let mut demand = lock(&self.demand);
        let stretch = now.as_millis() / STRETCH.as_millis();
        if demand.stretch != stretch {
            let is_next = demand.stretch + 1 == stretch;
            demand.before = if is_next { demand.now } else { 0 };
            (demand.stretch, demand.now) = (stretch, 0);
        }
        demand.now += 1;
        let ticks = (STRETCH.as_millis() / TICK.as_millis()) as f64;
        let running = f64::from(demand.now.max(demand.before)) / ticks;
        running + self.paused.load(Ordering::Relaxed) as f64 >= self.cores * FULL
    }

    fn pause_at(&self, account: &Account, now: Duration) -> Option<Duration> {
        let is_full = self.is_full(now);
        let (mut weights, mut others_least) = (0.0, f64::INFINITY);
        for other in lock(&self.accounts).values() {
            if other.is_idle(now) {
                continue;
            }
            let balance = lock(&other.balance);
            weights += f64::from(balance.share.weight);
            if !std::ptr::eq(Arc::as_ptr(other), account) {
                others_least = others_least.min(balance.for_its_weight(now));
            }
        }
        let mut balance = lock(&account.balance);
        let weight = f64::from(balance.share.weight);
        let (mut rate, mut credit) = (self.cores, CREDIT);
        if is_full && balance.for_its_weight(now) > others_least + CREDIT {
            // What was saved while nobody else computed is no reason to hold them up now.
            (rate, credit) = (rate * weight / weights / 2.0, 0.0);
        }
        rate = rate.min(balance.share.most.unwrap_or(rate));
        balance.refill(rate, credit, now)
    }
}

/// A guest that pauses, until dropped.
struct Paused(Arc<Shares>);

impl Paused {
    fn new(shares: Arc<Shares>) -> Self {
        shares.paused.fetch_add(1, Ordering::Relaxed);
        Self(shares)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.paused.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Account {
    /// What the tenant may take from now on.
    pub fn set(&self, share: CpuShare) {
        lock(&self.balance).share = share;
    }

    fn is_idle(&self, now: Duration) -> bool {
        self.since(now) > IDLE_AFTER
    }

    fn is_away(&self, now: Duration) -> bool {
        self.since(now) > AWAY_AFTER
    }

    /// How long it did nothing.
    fn since(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_micros(self.last.load(Ordering::Relaxed)))
    }

    fn touch(&self, now: Duration) {
        self.last.store(micros(now), Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Balance {
    /// What was taken lately, which fades, for the weight.
    fn for_its_weight(&self, now: Duration) -> f64 {
        self.taken_at(now) / f64::from(self.share.weight)
    }

    fn taken_at(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.charged).as_secs_f64();
        self.taken * (-passed / MEMORY.as_secs_f64()).exp()
    }

    fn charge(&mut self, took: Duration, now: Duration) {
        self.taken = self.taken_at(now) + took.as_secs_f64();
        self.charged = now;
        self.left -= took.as_secs_f64();
    }

    /// How long it takes until something is left.
    fn refill(&mut self, rate: f64, credit: f64, now: Duration) -> Option<Duration> {
        let passed = now.saturating_sub(self.refilled).as_secs_f64();
        self.left = (self.left + passed * rate).clamp(-DEBT, credit);
        self.refilled = now;
        let pause = Duration::try_from_secs_f64(-self.left / rate).ok()?;
        (!pause.is_zero()).then_some(pause.min(LONGEST_PAUSE))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guests that compute without end, in slices of a tick on two processors: seconds that each tenant got.
    struct Machine {
        shares: Shares,
        now: Duration,
        /// Whose, until when each pauses, and what it got.
        guests: Vec<(Arc<Account>, Duration)>,
    }

    impl Machine {
        fn new() -> Self {
            let shares = Shares {
                cores: 2.0,
                ..Shares::default()
            };
            Self {
                shares,
                now: Duration::from_secs(1),
                guests: Vec::new(),
            }
        }

        fn add(&mut self, tenant: &str, share: CpuShare, guests: u32) -> Arc<Account> {
            let account = self.shares.of(tenant);
            account.set(share);
            for _ in 0..guests {
                self.guests.push((account.clone(), Duration::ZERO));
            }
            account
        }

        /// Seconds of processor that the guests of `account` get of the next `seconds`; the first ready ones take turns.
        fn run(&mut self, seconds: u64, account: &Arc<Account>) -> f64 {
            let (mut got, end) = (0.0, self.now + Duration::from_secs(seconds));
            while self.now < end {
                self.now += TICK;
                let mut ran = 0;
                let paused = self.guests.iter().filter(|(_, until)| *until > self.now);
                self.shares.paused.store(paused.count(), Ordering::Relaxed);
                for at in 0..self.guests.len() {
                    let (owner, until) = self.guests[at].clone();
                    if ran == 2 || until > self.now {
                        continue;
                    }
                    ran += 1;
                    if Arc::ptr_eq(&owner, account) {
                        got += TICK.as_secs_f64();
                    }
                    owner.touch(self.now);
                    lock(&owner.balance).charge(TICK, self.now);
                    let pause = self.shares.pause_at(&owner, self.now).unwrap_or_default();
                    self.guests[at].1 = self.now + pause;
                }
                self.guests.rotate_left(1);
            }
            got
        }
    }

    #[test]
    fn a_tenant_that_is_alone_has_the_machine() {
        let mut machine = Machine::new();
        let a = machine.add("a", CpuShare::default(), 4);
        let got = machine.run(10, &a);
        assert!((19.5..=20.1).contains(&got), "{got}");
    }

    #[test]
    fn many_guests_of_one_tenant_take_no_more_than_one_of_another() {
        let mut machine = Machine::new();
        machine.add("a", CpuShare::default(), 8);
        let b = machine.add("b", CpuShare::default(), 2);
        machine.run(20, &b);
        let got = machine.run(10, &b);
        assert!((8.5..=11.5).contains(&got), "{got}");
    }

    #[test]
    fn whoever_comes_late_goes_first_for_a_while() {
        let mut machine = Machine::new();
        let a = machine.add("a", CpuShare::default(), 8);
        machine.run(20, &a);
        let b = machine.add("b", CpuShare::default(), 2);
        let got = machine.run(2, &b);
        assert!(got > 2.6, "{got}");
    }

    #[test]
    fn whoever_took_more_than_others_is_heavy_until_it_is_forgotten() {
        let mut machine = Machine::new();
        let heavy = machine.add("heavy", CpuShare::default(), 4);
        machine.run(10, &heavy);
        let is_heavy =
            |machine: &Machine, account| machine.shares.is_heavy_at(account, machine.now);
        // Nobody else was ever here.
        assert!(!is_heavy(&machine, &heavy));
        let light = machine.add("light", CpuShare::default(), 0);
        machine.now += TICK;
        assert!(is_heavy(&machine, &heavy));
        assert!(!is_heavy(&machine, &light));
        // As much as the other, for four times the weight.
        let weighty = machine.add(
            "weighty",
            CpuShare {
                weight: 4,
                most: None,
            },
            0,
        );
        let taken = lock(&heavy.balance).taken_at(machine.now);
        lock(&weighty.balance).charge(Duration::from_secs_f64(taken), machine.now);
        weighty.touch(machine.now);
        machine.now += TICK;
        assert!(is_heavy(&machine, &heavy));
        assert!(!is_heavy(&machine, &weighty));
        machine.now += Duration::from_secs(60);
        assert!(!is_heavy(&machine, &heavy));
    }

    #[test]
    fn accounts_of_tenants_that_left_are_closed() {
        let shares = Shares {
            begun: Instant::now() - 2 * CLOSED_AFTER,
            ..Shares::default()
        };
        let (gone, kept) = (shares.of("gone"), shares.of("kept"));
        for account in [&gone, &kept] {
            account.touch(Duration::ZERO);
        }
        drop(gone);
        drop(shares.of("new"));
        let mut tenants: Vec<String> = lock(&shares.accounts).keys().cloned().collect();
        tenants.sort();
        assert_eq!(tenants, ["kept", "new"]);
    }

    #[test]
    fn what_a_tenant_took_long_before_others_came_is_no_large_debt() {
        let machine = Machine::new();
        let account = machine.shares.of("a");
        let mut balance = lock(&account.balance);
        let end = Duration::from_secs(60);
        balance.charge(end, end);
        // At a quarter of a processor, so that three quarters of it all would be owed.
        let pause = balance.refill(0.25, 0.0, end).unwrap();
        assert_eq!(pause, LONGEST_PAUSE);
        let later = end + Duration::from_secs(4);
        assert_eq!(balance.refill(0.25, 0.0, later), None);
    }

    #[test]
    fn processors_are_shared_by_weight_and_never_above_the_most() {
        let mut machine = Machine::new();
        machine.add(
            "a",
            CpuShare {
                weight: 1,
                most: None,
            },
            4,
        );
        let b = machine.add(
            "b",
            CpuShare {
                weight: 3,
                most: None,
            },
            4,
        );
        machine.run(20, &b);
        let got = machine.run(10, &b);
        assert!((13.5..=16.5).contains(&got), "{got}");

        let mut machine = Machine::new();
        let half = machine.add(
            "a",
            CpuShare {
                weight: 1,
                most: Some(0.5),
            },
            4,
        );
        let got = machine.run(10, &half);
        assert!((4.5..=5.5).contains(&got), "{got}");
    }
}
