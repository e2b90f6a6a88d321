//! The closed vocabularies of the format.

/// Declares an enum whose variants have exactly one spelling each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every variant, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in records.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The variant spelled `word`, if any.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// What a receipt is about.
    Kind {
        /// An event was evaluated before application code saw it.
        Consume = "consume",
        /// A tool call was evaluated before it ran.
        Invoke = "invoke",
        /// An event was evaluated before it was produced.
        Produce = "produce",
        /// A person decided otherwise than the policy.
        Override = "override",
        /// What a tool call gave: the digest of its result, or an error.
        Effect = "effect",
        /// An earlier receipt did not take effect.
        Rollback = "rollback",
    }
}

impl Kind {
    /// Whether a receipt of this kind records a decision, and therefore has a scope and a verdict.
    pub const fn is_decision(self) -> bool {
        matches!(self, Self::Consume | Self::Invoke | Self::Produce | Self::Override)
    }
}

words! {
    /// What was decided.
    Verdict {
        /// Authorised.
        Allow = "allow",
        /// Not authorised.
        Deny = "deny",
        /// A person has to decide.
        Escalate = "escalate",
        /// To be decided later.
        Delay = "delay",
    }
}

words! {
    /// What a guard said.
    GuardVerdict {
        /// It saw nothing against the event.
        Allow = "allow",
        /// It denied.
        Deny = "deny",
        /// It raised an error, which denies.
        Error = "error",
        /// It did not answer in time, which denies.
        Timeout = "timeout",
    }
}

words! {
    /// When a receipt was durable, in relation to what it authorises.
    Evidence {
        /// Before the offset was committed.
        BeforeCommit = "before_commit",
        /// Before the event was handed out or the tool started.
        BeforeAction = "before_action",
    }
}

words! {
    /// What a durable write means for this log.
    Durability {
        /// Every batch is synced to the disk before it counts.
        Full = "full",
        /// The operating system may still hold it.
        Relaxed = "relaxed",
    }
}

words! {
    /// What became of a transaction's batch.
    OutcomeWord {
        /// Kafka shows its checkpoint: it happened.
        Committed = "committed",
        /// Kafka shows that its checkpoint will never be visible.
        RolledBack = "rolled_back",
        /// What would tell is gone.
        Unknown = "unknown",
    }
}
