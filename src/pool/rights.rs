//! Rights to have servers, as shares of a pool count and exchange them.

/// Rights to have servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// Within `pool_size`.
    pub size: u32,
    /// Within `reserve_pool_size`.
    pub reserve: u32,
}

impl Rights {
    /// So many within `pool_size`.
    pub const fn sized(size: u32) -> Self {
        Self { size, reserve: 0 }
    }

    /// Whether there are none.
    pub const fn is_none(self) -> bool {
        self.size == 0 && self.reserve == 0
    }

    /// How many.
    pub const fn sum(self) -> u32 {
        self.size.saturating_add(self.reserve)
    }

    /// Of these, what is left when `other` are taken away.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            size: self.size.saturating_sub(other.size),
            reserve: self.reserve.saturating_sub(other.reserve),
        }
    }

    /// These and `other`.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            size: self.size.saturating_add(other.size),
            reserve: self.reserve.saturating_add(other.reserve),
        }
    }

    /// Of these, the first so many: those within `pool_size` come first.
    #[must_use]
    pub fn first(self, count: u32) -> Self {
        let size = self.size.min(count);
        Self { size, reserve: self.reserve.min(count - size) }
    }
}
