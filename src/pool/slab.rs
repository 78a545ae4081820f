//! Numbered cells that are reused without allocating.

/// Names a cell's content. The serial is never reused, so a key that outlives its content finds nothing, even
/// after the slab gave its memory back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    index: u32,
    serial: u64,
}

struct Cell<T> {
    serial: u64,
    value: Option<T>,
}

/// Cells in one vector, plus a list of the free ones.
pub(super) struct Slab<T> {
    cells: Vec<Cell<T>>,
    free: Vec<u32>,
    last_serial: u64,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { cells: Vec::new(), free: Vec::new(), last_serial: 0 }
    }

    /// Number of cells in use.
    pub(super) fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// Stores a value. Allocates only when more cells are in use than ever before.
    pub(super) fn insert(&mut self, value: T) -> Key {
        self.last_serial += 1;
        let serial = self.last_serial;
        let cell = Cell { serial, value: Some(value) };
        if let Some(index) = self.free.pop()
            && let Some(place) = self.cells.get_mut(index as usize)
        {
            *place = cell;
            return Key { index, serial };
        }
        // More than 2^32 connections cannot exist; the index then names the last cell and the serial differs.
        let index = u32::try_from(self.cells.len()).unwrap_or(u32::MAX);
        self.cells.push(cell);
        Key { index, serial }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        self.cells.get(key.index as usize).filter(|cell| cell.serial == key.serial)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.cells.get_mut(key.index as usize).filter(|cell| cell.serial == key.serial)?.value.as_mut()
    }

    /// Takes the value out and frees the cell.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let cell = self.cells.get_mut(key.index as usize).filter(|cell| cell.serial == key.serial)?;
        let value = cell.value.take()?;
        self.free.push(key.index);
        Some(value)
    }

    /// All values in use, in no particular order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.cells.iter().filter_map(|cell| cell.value.as_ref())
    }

    /// All values in use, in no particular order.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.cells.iter_mut().filter_map(|cell| cell.value.as_mut())
    }

    /// Cells there is memory for.
    #[cfg(test)]
    pub(super) fn reserved(&self) -> usize {
        self.cells.capacity()
    }

    /// Gives the memory back if no cell is in use and more than `kept` were reserved.
    pub(super) fn shrink(&mut self, kept: usize) {
        if self.len() == 0 && self.cells.capacity() > kept {
            self.cells = Vec::new();
            self.free = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_finds_the_next_content_of_its_cell() {
        let mut slab = Slab::new();
        let old = slab.insert("old");
        assert_eq!(slab.remove(old), Some("old"));
        let new = slab.insert("new");
        assert_eq!(new.index, old.index);
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.remove(new), Some("new"));
        slab.shrink(0);
        let newest = slab.insert("newest");
        assert_eq!((slab.get(old), slab.get(new)), (None, None));
        assert_eq!(slab.get(newest), Some(&"newest"));
    }

    #[test]
    fn cells_are_reused_without_growing() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..3).map(|n| slab.insert(n)).collect();
        let reserved = slab.cells.capacity();
        for key in keys {
            slab.remove(key);
        }
        for n in 0..1_000 {
            let key = slab.insert(n);
            slab.remove(key);
        }
        assert_eq!((slab.len(), slab.cells.capacity()), (0, reserved));
    }
}
