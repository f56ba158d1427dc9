//! Sets that have no member in common, and become one step by step.

/// A union-find structure. The root of a set is its lowest member.
#[derive(Debug, Clone)]
pub(crate) struct DisjointSets(Vec<u32>);

impl DisjointSets {
    /// Sets of one member each.
    pub(crate) fn new(size: usize) -> Self {
        Self((0..).take(size).collect())
    }

    /// The root of the member's set.
    pub(crate) fn root(&mut self, mut index: u32) -> u32 {
        while self.0[index as usize] != index {
            let above = self.0[index as usize];
            self.0[index as usize] = self.0[above as usize];
            index = self.0[index as usize];
        }
        index
    }

    /// The root of each member's set.
    pub(crate) fn roots(mut self) -> Vec<u32> {
        for index in 0..self.0.len() as u32 {
            self.0[index as usize] = self.root(index);
        }
        self.0
    }

    /// Makes one set of the sets of two members.
    pub(crate) fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other) as usize] = one.min(other);
    }
}
