//! The way to the brokers and back: requests take their time, are lost, or come when nobody waits for them any more.
//!
//! What is under way lies in a queue, in the order in which it comes, and is served whenever somebody looks, each at its own
//! moment: so it is as if the brokers had worked all the time. A request outlives whoever has sent it.
//!
//! Two requests over one connection come in the order in which they were sent. What is late does not hold up the next one: its
//! sender has given up, and asks over another connection.

use crate::{
    brokers::{
        Brokers,
        coordinator::Marker,
        request::{Answer, Done, Refusal, Request, Time},
    },
    caller::Caller,
    conditions::{Conditions, Patience},
};
use parking_lot::{Mutex, MutexGuard};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use weir_engine::env::Env;

/// Says what time it is.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Is told what goes wrong on the way, and what does not (`true`: a detail).
pub type Tell = Arc<dyn Fn(bool, String) + Send + Sync>;

/// The way to the brokers. Cheap to clone.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    clock: Clock,
    tell: Option<Tell>,
    patience: Patience,
    state: Mutex<State>,
}

/// The brokers, and what is under way.
pub struct State {
    /// The brokers.
    pub brokers: Brokers,
    conditions: Conditions,
    /// Clients that cannot reach the brokers.
    cut: BTreeSet<String>,
    dice: StdRng,
    queue: BTreeMap<(Time, u64), Event>,
    /// What the brokers are to do when they are there again.
    held: Vec<Event>,
    numbers: u64,
    /// By connection: when the newest request comes.
    newest: BTreeMap<u64, Time>,
    /// Requests whose senders wait, and the answers that are there.
    waiting: BTreeMap<u64, Option<(Time, Answer)>>,
    /// Before this nothing has happened: the brokers stood still.
    served_until: Time,
    told: Vec<(bool, String)>,
}

enum Event {
    Comes { number: u64, from: String, request: Request },
    Marker(Marker),
}

/// What became of a request on its way.
enum Sent {
    /// It comes at that moment.
    Comes(Time),
    /// It is lost.
    Lost,
    /// It comes when nobody waits for it any more.
    Late,
    /// It comes some time after it was asked for again.
    Overtaken,
}

/// Why there is no answer, or not the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The brokers say so.
    Refused(Refusal),
    /// They said nothing for as long as one waits: it may have been done, or may still be.
    GaveUp,
}

impl Network {
    /// To brokers that know nothing yet.
    pub fn new(seed: u64, clock: Clock, patience: Patience, tell: Option<Tell>) -> Self {
        let state = State {
            brokers: Brokers::default(),
            conditions: Conditions::default(),
            cut: BTreeSet::new(),
            dice: StdRng::seed_from_u64(seed ^ 0x6b61_666b),
            queue: BTreeMap::new(),
            held: Vec::new(),
            numbers: 0,
            newest: BTreeMap::new(),
            waiting: BTreeMap::new(),
            served_until: clock(),
            told: Vec::new(),
        };
        Network(Arc::new(Shared { clock, tell, patience, state: Mutex::new(state) }))
    }

    /// How clients wait.
    pub fn patience(&self) -> Patience {
        self.0.patience
    }

    /// What time it is, in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        (self.0.clock)().as_millis() as i64
    }

    /// A number for a new connection.
    pub fn connection(&self) -> u64 {
        self.state().number()
    }

    /// Does something with the brokers as they are now, past all ways and doors.
    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let now = (self.0.clock)();
        let mut state = self.state();
        state.serve(now);
        let done = work(&mut state);
        let told = std::mem::take(&mut state.told);
        drop(state);
        if let Some(tell) = &self.0.tell {
            told.into_iter().for_each(|(is_detail, line)| tell(is_detail, line));
        }
        done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// Asks until there is an answer, for as long as one waits.
    ///
    /// # Errors
    /// When the brokers refuse, or say nothing.
    pub async fn call(&self, caller: &Caller, request: Request) -> Result<Done, Failure> {
        self.call_counting(caller, request, &mut 0).await
    }

    /// The same; counts the requests that were not answered, which may still be under way.
    ///
    /// # Errors
    /// See [`call`](Self::call).
    pub async fn call_counting(
        &self,
        caller: &Caller,
        request: Request,
        unanswered: &mut u32,
    ) -> Result<Done, Failure> {
        let patience = self.patience();
        let Patience { request: answer_within, call, pause, .. } = patience;
        let env = Env::default();
        let until = env.now() + call;
        loop {
            caller.pass().await;
            let now = (self.0.clock)();
            let (number, sent) = self.with(|state| state.send(now, caller, &request, patience));
            let forget = Forget { network: self, number };
            let answer_until = (env.now() + answer_within).min(until);
            match sent {
                Sent::Comes(at) => {
                    env.sleep(at.saturating_sub(now)).await;
                    let mut pauses = LOOK_AGAIN_AFTER.into_iter();
                    loop {
                        let pause = match self.take(number) {
                            Waiting::Here(answer) => {
                                caller.pass().await;
                                match answer {
                                    Err(Refusal::ConcurrentTransactions) => break,
                                    answer => return answer.map_err(Failure::Refused),
                                }
                            }
                            Waiting::ComesIn(pause) => pause,
                            Waiting::Unknown => pauses.next().map_or(LOOK_EVERY, Duration::from_millis),
                        };
                        if env.now() >= answer_until {
                            *unanswered += 1;
                            break;
                        }
                        env.sleep(pause).await;
                    }
                }
                Sent::Lost | Sent::Overtaken => {
                    *unanswered += 1;
                    env.sleep_until(answer_until).await;
                }
                // Whatever it sends lies somewhere.
                Sent::Late => env.sleep_until(until).await,
            }
            drop(forget);
            if env.now() >= until {
                caller.pass().await;
                return Err(Failure::GaveUp);
            }
            env.sleep(pause).await;
        }
    }

    /// The answer to a request, if it is there.
    fn take(&self, number: u64) -> Waiting {
        let now = (self.0.clock)();
        self.with(|state| match state.waiting.remove(&number) {
            Some(Some((ready, answer))) if ready <= now => Waiting::Here(answer),
            Some(Some((ready, answer))) => {
                state.waiting.insert(number, Some((ready, answer)));
                Waiting::ComesIn(ready - now)
            }
            unknown => {
                state.waiting.extend(unknown.map(|answer| (number, answer)));
                Waiting::Unknown
            }
        })
    }
}

/// What is known of the answer to a request.
enum Waiting {
    Here(Answer),
    ComesIn(Duration),
    /// It is lost, or the brokers stand still.
    Unknown,
}

/// How long until a client looks again for an answer of which nothing is known, in milliseconds, and from then on.
const LOOK_AGAIN_AFTER: [u64; 5] = [1, 2, 4, 8, 16];
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Nobody waits for the answer any more.
struct Forget<'a> {
    network: &'a Network,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.network.state().waiting.remove(&self.number);
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn strikes(&mut self, one_in: u32) -> bool {
        one_in > 0 && self.dice.random_range(0..one_in) == 0
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.dice.random_range(0..=longest.as_micros() as u64))
    }

    /// Changes how everything is from now on.
    pub fn set(&mut self, now: Time, conditions: Conditions) {
        if self.conditions.is_frozen {
            self.served_until = now;
        }
        self.conditions = conditions;
        if !conditions.is_down {
            for event in std::mem::take(&mut self.held) {
                let number = self.number();
                self.queue.insert((now, number), event);
            }
        }
    }

    /// Whether a client cannot reach the brokers from now on.
    pub fn set_cut(&mut self, client: &str, is_cut: bool) {
        match is_cut {
            true => self.cut.insert(client.into()),
            false => self.cut.remove(client),
        };
    }

    /// Sends a request on its way.
    fn send(&mut self, now: Time, caller: &Caller, request: &Request, patience: Patience) -> (u64, Sent) {
        let Conditions { slowest, lose_one_in, late_one_in, latest, overtaken_one_in, .. } = self.conditions;
        let number = self.number();
        let is_lost = self.cut.contains(&caller.name) || self.strikes(lose_one_in);
        let is_late = request.changes() && self.strikes(late_one_in);
        let is_overtaken = request.changes() && self.strikes(overtaken_one_in);
        let takes = self.up_to(slowest);
        let (from, name) = (caller.name.clone(), request.name());
        if is_lost {
            self.told.push((false, format!("{from} kafka: the request to {name} is lost")));
            return (number, Sent::Lost);
        }
        let event = Event::Comes { number, from, request: request.clone() };
        if is_late || is_overtaken {
            let (sent, waited) = if is_late {
                (Sent::Late, patience.call)
            } else {
                (Sent::Overtaken, patience.request + patience.pause)
            };
            let at = now + waited + self.up_to(latest);
            self.told
                .push((false, format!("{} kafka: the request to {name} comes late, in {:?}", caller.name, at - now)));
            self.queue.insert((at, number), event);
            return (number, sent);
        }
        let at = self.newest.get(&caller.connection).map_or(now + takes, |newest| (now + takes).max(*newest));
        self.newest.insert(caller.connection, at);
        self.waiting.insert(number, None);
        self.queue.insert((at, number), event);
        if !matches!(request, Request::Fetch(..)) {
            self.told.push((true, format!("{} kafka: the request to {name} takes {takes:?}", caller.name)));
        }
        (number, Sent::Comes(at))
    }

    /// Serves all that has come, and all that the brokers do by themselves.
    pub fn serve(&mut self, now: Time) {
        if self.conditions.is_frozen {
            return;
        }
        loop {
            let timeout = self.brokers.next_timeout().filter(|_| !self.conditions.is_down);
            let first = self.queue.first_key_value().map(|(key, _)| *key);
            let Some(at) = timeout.into_iter().chain(first.map(|(at, _)| at)).min().filter(|at| *at <= now) else {
                break;
            };
            // What waited while the brokers stood still is done when they go on.
            let moment = at.max(self.served_until);
            if timeout == Some(at) {
                let markers = self.brokers.time_out(moment);
                self.write_later(moment, markers);
            } else if let Some((_, event)) = self.queue.pop_first() {
                self.happens(moment, event);
            }
        }
        self.served_until = self.served_until.max(now);
    }

    fn happens(&mut self, now: Time, event: Event) {
        match event {
            Event::Comes { from, request, .. } if self.conditions.is_down => {
                self.told.push((true, format!("{from} kafka: nobody is there to {}", request.name())));
            }
            event if self.conditions.is_down => self.held.push(event),
            Event::Marker(marker) => self.brokers.write(now, &marker),
            Event::Comes { number, from, request } => {
                let (answer, markers) = self.brokers.apply(now, &request);
                self.write_later(now, markers);
                self.answer(now, number, &from, &request, answer);
            }
        }
    }

    fn answer(&mut self, now: Time, number: u64, from: &str, request: &Request, answer: Answer) {
        if let Err(refusal) = &answer {
            self.told.push((true, format!("{from} kafka: {} is refused: {refusal:?}", request.name())));
        }
        let (slowest, one_in) = (self.conditions.slowest, self.conditions.lose_answer_one_in);
        let (is_lost, takes) = (self.strikes(one_in) || self.cut.contains(from), self.up_to(slowest));
        let Some(waiting) = self.waiting.get_mut(&number) else { return };
        match is_lost {
            true => self.told.push((false, format!("{from} kafka: the answer to {} is lost", request.name()))),
            false => *waiting = Some((now + takes, answer)),
        }
    }

    fn write_later(&mut self, now: Time, markers: Vec<Marker>) {
        for marker in markers {
            let at = now + self.up_to(self.conditions.slowest);
            let number = self.number();
            self.queue.insert((at, number), Event::Marker(marker));
        }
    }
}
