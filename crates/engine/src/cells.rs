//! Which of the context's cells are taken, as llama.cpp does not tell.

/// Counts how many sequences share each cell that is taken.
///
/// The numbers are this ledger's own. llama.cpp puts a token where it finds room, but a cell of its
/// is free exactly when one of these is.
#[derive(Debug)]
pub(crate) struct Cells {
    sharers: Vec<u16>,
    free: Vec<u32>,
}

impl Cells {
    pub(crate) fn new(count: u32) -> Self {
        Self { sharers: vec![0; count as usize], free: (0..count).rev().collect() }
    }

    /// How many tokens still fit.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes `count` cells for a sequence. There must be so many.
    pub(crate) fn take(&mut self, count: usize, sequence: &mut Vec<u32>) {
        let from = self.free.len().checked_sub(count).expect("as many cells are free as are taken");
        for cell in self.free.drain(from..) {
            self.sharers[cell as usize] = 1;
            sequence.push(cell);
        }
    }

    /// Has a sequence share `cells` of another.
    pub(crate) fn share(&mut self, cells: &[u32], sequence: &mut Vec<u32>) {
        for &cell in cells {
            self.sharers[cell as usize] += 1;
            sequence.push(cell);
        }
    }

    /// Takes a sequence back to its first `len` cells.
    pub(crate) fn cut(&mut self, sequence: &mut Vec<u32>, len: usize) {
        for cell in sequence.drain(len.min(sequence.len())..) {
            let sharers = &mut self.sharers[cell as usize];
            *sharers -= 1;
            if *sharers == 0 {
                self.free.push(cell);
            }
        }
    }

    /// How many cells come free when `sequence` is given up.
    pub(crate) fn owned_alone(&self, sequence: &[u32]) -> usize {
        sequence.iter().filter(|&&cell| self.sharers[cell as usize] == 1).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_cell_is_free_when_its_last_sharer_lets_go() {
        let mut cells = Cells::new(10);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        cells.take(6, &mut one);
        cells.share(&one[..4], &mut other);
        cells.take(1, &mut other);
        assert_eq!((cells.free(), cells.owned_alone(&one), cells.owned_alone(&other)), (3, 2, 1));
        cells.cut(&mut one, 0);
        assert_eq!((cells.free(), cells.owned_alone(&other)), (5, 5));
        cells.cut(&mut other, 2);
        assert_eq!((cells.free(), other.len()), (8, 2));
        cells.cut(&mut other, 5);
        assert_eq!(other.len(), 2);
    }
}
