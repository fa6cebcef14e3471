//! Groups of a slice that have changed since something was last emitted of them.

/// A set of group numbers that keeps the order in which they were noted.
#[derive(Debug, Default)]
pub(crate) struct ChangedGroups {
    is_changed: Vec<bool>,
    changed: Vec<u32>,
}

impl ChangedGroups {
    /// Notes some of the `of` groups that there are.
    pub(crate) fn note(&mut self, groups: &[u32], of: usize) {
        self.is_changed.resize(of, false);
        for group in groups {
            if !std::mem::replace(&mut self.is_changed[*group as usize], true) {
                self.changed.push(*group);
            }
        }
    }

    /// All that were noted, in the order in which they were.
    pub(crate) fn groups(&self) -> &[u32] {
        &self.changed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// By group, which were noted; of the last ones it may say nothing.
    pub(crate) fn flags(&self) -> &[bool] {
        &self.is_changed
    }

    /// Forgets them.
    pub(crate) fn clear(&mut self) {
        for group in self.changed.drain(..) {
            self.is_changed[group as usize] = false;
        }
    }
}
