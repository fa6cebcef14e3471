//! Where the coordinators are: as the worker was told when it was started, and as they say since.

use parking_lot::Mutex;
use std::sync::Arc;

/// The addresses of the coordinators, as `host:port`; any of them will do. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Coordinators(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// When it was started.
    told: Vec<String>,
    /// The members of the group, as its leader said last.
    members: Vec<String>,
}

impl Coordinators {
    /// The leader says where all of them are by now.
    pub fn learn(&self, members: Vec<String>) {
        self.0.lock().members = members;
    }

    /// The one to be called at the `turn`-th try.
    pub fn turn(&self, turn: usize) -> String {
        let all = self.all();
        all.get(turn % all.len().max(1)).cloned().unwrap_or_default()
    }

    /// Whether there are others to call.
    pub fn are_several(&self) -> bool {
        self.all().len() > 1
    }

    /// Those that are members, and then those of the start: they may come back, or the members may have moved.
    fn all(&self) -> Vec<String> {
        let known = self.0.lock();
        let mut all: Vec<String> = Vec::new();
        for address in known.members.iter().chain(&known.told) {
            // A member that has not said yet where it is has no address.
            if !address.is_empty() && !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }
}

impl FromIterator<String> for Coordinators {
    fn from_iter<I: IntoIterator<Item = String>>(told: I) -> Self {
        let told = told.into_iter().collect();
        Coordinators(Arc::new(Mutex::new(Known { told, members: Vec::new() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_called_before_those_of_the_start_and_nobody_twice() {
        let coordinators: Coordinators = ["a:1", "b:1"].map(str::to_owned).into_iter().collect();
        assert_eq!((coordinators.turn(0), coordinators.turn(3)), ("a:1".into(), "b:1".into()));
        coordinators.learn(vec!["b:1".into(), "c:1".into()]);
        assert_eq!(coordinators.all(), ["b:1", "c:1", "a:1"]);
        coordinators.learn(["d:1", "", "d:1", "e:1"].map(str::to_owned).to_vec());
        assert_eq!(
            coordinators.all(),
            ["d:1", "e:1", "a:1", "b:1"],
            "what it was told at its start is never forgotten"
        );
        assert!(coordinators.clone().are_several());
        assert_eq!(Coordinators::default().turn(7), "");
    }
}
