//! The API on a real API server: what it accepts, refuses and keeps; and the rights that the operator ships with.

mod rights;
