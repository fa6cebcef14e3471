//! A network of namespaces on this machine: each process has one to itself, with an address, and any of them can be cut off from
//! any other while both are well.
//!
//! ```text
//! this machine ── hub (a bridge in a namespace of its own) ─┬─ end 0    198.18.N.10
//!  198.18.N.1                                               ├─ end 1    198.18.N.11
//!                                                           └─ …
//! ```
//!
//! What is lost is dropped where it would arrive, so that the sender sees nothing of it. This machine itself is never cut off: tests
//! look at everybody. [`commands`] runs `ip` and `iptables`, [`leftovers`] removes what runs left behind that were killed.
//!
//! Invariant: what a network has made is removed when it is dropped, or else by the next network that is made.

mod commands;
mod leftovers;

use anyhow::{Context, Result, bail};
use commands::ip;
pub(super) use commands::run;
use std::{
    fmt,
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use weir_test_support::{in_ci, needs, place::Place};

/// The network's part of an address within 198.18.0.0/15, which is set aside for tests of networks: this many of 256 addresses.
const SUBNETS: u32 = 512;
/// The last part of this machine's address, and of the first end's.
const MACHINE: u8 = 1;
const FIRST_END: u8 = 10;

/// An end of the network, by its number.
pub type End = usize;

/// What does not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing from one end arrives at the other.
    OneWay(End, End),
    /// Nothing between two ends, in either direction.
    Whole(End, End),
    /// Nothing between an end and all others.
    Off(End),
    /// Of what goes between two ends, so many packets of a hundred are lost.
    Loss(End, End, u8),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::OneWay(from, to) => write!(f, "nothing from {from} to {to}"),
            Cut::Whole(one, other) => write!(f, "nothing between {one} and {other}"),
            Cut::Off(end) => write!(f, "nothing from or to {end}"),
            Cut::Loss(one, other, percent) => write!(f, "{percent} % lost between {one} and {other}"),
        }
    }
}

/// The network.
#[derive(Debug)]
pub struct Network {
    /// What the names of its namespaces begin with.
    name: String,
    /// The first three parts of all addresses.
    subnet: [u8; 3],
    ends: usize,
}

impl Network {
    /// A network with so many ends. `None`: this machine does not let us make one, which has been said.
    ///
    /// # Errors
    /// When it does let us, and something fails.
    pub fn new(ends: usize) -> Result<Option<Self>> {
        if !is_root() {
            return Ok(skipped("only root may make network namespaces"));
        }
        for (program, remedy) in [("ip", "iproute2"), ("iptables", "iptables"), ("nsenter", "util-linux")] {
            if needs(&[program], &format!("apt-get install {remedy}")).is_none() {
                return Ok(None);
            }
        }
        leftovers::remove()?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}", leftovers::PREFIX, std::process::id());
        let network =
            Network { subnet: free_subnet(std::process::id().wrapping_mul(7).wrapping_add(number))?, name, ends };
        match network.make() {
            Err(error) if format!("{error:#}").contains("not permitted") => Ok(skipped(&format!("{error:#}"))),
            made => made.map(|()| Some(network)),
        }
    }

    /// What the names of its namespaces begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where an end is.
    pub fn place(&self, end: End) -> Place {
        Place::in_namespace(&self.namespace(end), self.address(end))
    }

    /// Has nothing of that get through from now on, until it is mended.
    ///
    /// # Errors
    /// When a rule is refused.
    pub fn cut(&self, cut: &Cut) -> Result<()> {
        self.change("-A", cut)
    }

    /// Undoes it.
    ///
    /// # Errors
    /// When there is no such cut.
    pub fn mend(&self, cut: &Cut) -> Result<()> {
        self.change("-D", cut)
    }

    fn change(&self, how: &str, cut: &Cut) -> Result<()> {
        let drops = |from: End| format!("INPUT -s {} -j DROP", self.address(from));
        let loses = |from: End, percent: u8| {
            let share = f64::from(percent) / 100.0;
            format!("INPUT -s {} -m statistic --mode random --probability {share} -j DROP", self.address(from))
        };
        let machine = self.machine();
        let rules = match *cut {
            Cut::OneWay(from, to) => vec![(to, drops(from))],
            Cut::Whole(one, other) => vec![(one, drops(other)), (other, drops(one))],
            Cut::Off(end) => vec![
                (end, format!("INPUT -i eth0 ! -s {machine} -j DROP")),
                (end, format!("OUTPUT -o eth0 ! -d {machine} -j DROP")),
            ],
            Cut::Loss(one, other, percent) => vec![(one, loses(other, percent)), (other, loses(one, percent))],
        };
        for (end, rule) in rules {
            let mut command = self.place(end).command("iptables");
            command.args(["-w", how]).args(rule.split(' '));
            run(command).with_context(|| format!("{cut}"))?;
        }
        Ok(())
    }

    fn make(&self) -> Result<()> {
        let (hub, machine) = (self.hub(), self.link());
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link add hub type bridge"))?;
        ip(&format!("-n {hub} link set hub up"))?;
        ip(&format!("link add {machine} type veth peer name machine netns {hub}"))?;
        ip(&format!("-n {hub} link set machine master hub up"))?;
        ip(&format!("addr add {}/24 dev {machine}", self.machine()))?;
        ip(&format!("link set {machine} up"))?;
        for end in 0..self.ends {
            let name = self.end_name(end);
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {hub} link add end{end} type veth peer name eth0 netns {name}"))?;
            ip(&format!("-n {hub} link set end{end} master hub up"))?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", self.address(end)))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(())
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn end_name(&self, end: End) -> String {
        format!("{}-{end}", self.name)
    }

    fn namespace(&self, end: End) -> PathBuf {
        Path::new(leftovers::NAMESPACES).join(self.end_name(end))
    }

    /// This machine's interface; such a name is of 15 letters at most.
    fn link(&self) -> String {
        format!("weir{}n{}", self.subnet[1], self.subnet[2])
    }

    /// This machine's address, as the ends see it.
    fn machine(&self) -> Ipv4Addr {
        self.in_subnet(MACHINE)
    }

    fn address(&self, end: End) -> Ipv4Addr {
        self.in_subnet(FIRST_END + end as u8)
    }

    fn in_subnet(&self, last: u8) -> Ipv4Addr {
        let [first, second, third] = self.subnet;
        Ipv4Addr::new(first, second, third, last)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The bridge and all pairs of interfaces go with the namespaces; of a network that was half made there is less.
        for name in (0..self.ends).map(|end| self.end_name(end)).chain([self.hub()]) {
            leftovers::remove_namespace(&name);
        }
        let _ = ip(&format!("link del {}", self.link()));
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

/// Says it past what captures the words of tests. In CI, too, such a test is skipped: no package would help.
fn skipped(why: &str) -> Option<Network> {
    let ci = if in_ci() { "; this is CI, and the test did NOT run" } else { "" };
    // Where nobody reads it there is nothing to be done.
    let _ = writeln!(std::io::stderr(), "SKIPPED: a test in network namespaces: {why}{ci}");
    None
}

/// One that this machine has no route to.
fn free_subnet(first: u32) -> Result<[u8; 3]> {
    let routes = ip("route show")?;
    for step in 0..SUBNETS {
        let number = first.wrapping_add(step) % SUBNETS;
        let subnet = [198, 18 + (number >> 8) as u8, (number & 0xff) as u8];
        let [first, second, third] = subnet;
        if !routes.contains(&format!("{first}.{second}.{third}.")) {
            return Ok(subnet);
        }
    }
    bail!("there are routes to all of 198.18.0.0/15")
}
