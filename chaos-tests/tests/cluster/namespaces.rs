//! The network that other tests cut: what it says gets lost does, in the direction that it says, and everything else arrives.

use anyhow::{Context, Result, ensure};
use std::{
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
};
use weir_chaos_tests::cluster::{
    namespaces::{Cut, Network},
    waiting::wait_for,
};
use weir_test_support::place::Place;

/// Somebody who hears what arrives at his end, a letter at a time, with the address of the sender.
struct Ear(Child);

const HEAR: &str = r#"
import socket, sys
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind(("0.0.0.0", 4000))
print("listens", flush=True)
while True:
    word, sender = ear.recvfrom(100)
    print(word.decode(), sender[0], flush=True)
"#;

const SAY: &str = r#"
import socket, sys, time
mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[2])):
    try:
        mouth.sendto(b"hello", (sys.argv[1], 4000))
    except OSError:
        pass
    time.sleep(0.001)
"#;

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many of so many words arrive.
fn heard(from: &Place, to: &Place, words: usize) -> Result<usize> {
    let mut ear = to.command("python3");
    let mut ear = Ear(ear.args(["-c", HEAR]).stdout(Stdio::piped()).spawn()?);
    let mut lines = BufReader::new(ear.0.stdout.take().context("it is piped")?).lines();
    ensure!(lines.next().transpose()?.as_deref() == Some("listens"), "nobody listens");
    let said = |place: &Place, address: &str, words: usize| -> Result<()> {
        let status = place.command("python3").args(["-c", SAY, address, &words.to_string()]).status()?;
        ensure!(status.success(), "nothing is said");
        Ok(())
    };
    said(from, &to.address().to_string(), words)?;
    // What is said at his own end, after all that, arrives last.
    said(to, "127.0.0.1", 1)?;
    Ok(lines.map_while(Result::ok).take_while(|line| !line.ends_with(" 127.0.0.1")).count())
}

/// A network, when its bridge passes on what is said.
fn network(ends: usize) -> Result<Option<Network>> {
    let Some(network) = Network::new(ends)? else { return Ok(None) };
    let (first, last) = (network.place(0), network.place(ends - 1));
    wait_for("the bridge", || Ok((heard(&first, &last, 1)? > 0).then_some(())))?;
    Ok(Some(network))
}

#[test]
fn what_is_cut_is_cut_that_way_and_nothing_else() -> Result<()> {
    let Some(network) = network(3)? else { return Ok(()) };
    let [a, b, c] = [0, 1, 2].map(|end| network.place(end));
    let machine = Place::loopback();
    let ways = [(&a, &b), (&b, &a), (&a, &c), (&c, &b), (&machine, &c)];
    let heard = || ways.iter().map(|(from, to)| Ok(heard(from, to, 1)? > 0)).collect::<Result<Vec<bool>>>();
    for (cut, through) in [
        (Cut::OneWay(0, 1), [false, true, true, true, true]),
        (Cut::Whole(0, 1), [false, false, true, true, true]),
        (Cut::Off(2), [true, true, false, false, true]),
    ] {
        network.cut(&cut)?;
        assert_eq!(heard()?, through, "{cut:?}");
        network.mend(&cut)?;
        assert_eq!(heard()?, [true; 5], "{cut:?} is mended");
    }
    assert!(network.mend(&Cut::Off(2)).is_err(), "what is not cut cannot be mended");
    Ok(())
}

#[test]
fn so_much_is_lost_as_is_said() -> Result<()> {
    let Some(network) = network(2)? else { return Ok(()) };
    network.cut(&Cut::Loss(0, 1, 30))?;
    let arrived = heard(&network.place(0), &network.place(1), 400)?;
    // 280 are expected, with a standard deviation of 9.
    assert!((200..360).contains(&arrived), "{arrived} of 400 arrive");
    Ok(())
}

fn namespaces(prefix: &str) -> Vec<String> {
    let all = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    all.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.starts_with(prefix)).collect()
}

#[test]
fn a_network_leaves_nothing_behind() -> Result<()> {
    let Some(network) = Network::new(2)? else { return Ok(()) };
    let (name, address) = (network.name().to_owned(), network.place(0).address().to_string());
    assert_eq!(namespaces(&name).len(), 3, "two ends and a hub");
    drop(network);
    assert_eq!(namespaces(&name), Vec::<String>::new());
    let route = Command::new("ip").args(["route", "get", &address]).output()?;
    assert!(!String::from_utf8_lossy(&route.stdout).contains(" dev weir"), "a way to it is left");
    Ok(())
}

#[test]
fn what_a_run_that_was_killed_has_left_is_removed_by_the_next() -> Result<()> {
    let Some(network) = Network::new(1)? else { return Ok(()) };
    drop(network);
    let mut gone = Command::new("true").spawn()?;
    gone.wait()?;
    let name = format!("weir-chaos-{}-0-0", gone.id());
    ensure!(Command::new("ip").args(["netns", "add", &name]).status()?.success(), "no namespace");
    let place = Place::in_namespace(&Path::new("/run/netns").join(&name), Ipv4Addr::UNSPECIFIED);
    let mut left = place.command("sleep").arg("600").spawn()?;
    wait_for("a process in it", || {
        let pids = Command::new("ip").args(["netns", "pids", &name]).output()?;
        Ok(String::from_utf8_lossy(&pids.stdout).contains(&left.id().to_string()).then_some(()))
    })?;
    let _next = Network::new(1)?;
    let ended = wait_for("the end of the process", || Ok(left.try_wait()?));
    left.kill()?;
    ended?;
    assert_eq!(namespaces(&name), Vec::<String>::new());
    Ok(())
}
