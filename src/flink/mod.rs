//! Placeholder header, replaced with the module's own.
