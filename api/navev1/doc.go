// Package navev1 is the public API on the wire: generated messages and services, and the conversions between them and the
// nouns of package api.
//
// A request is decoded into a message, turned into nouns here ([SpecFromProto], [MetaFromProto], [ClusterFromProto]), and
// validated by package api; an answer goes the other way. The store keeps specs in the same encoding ([EncodeSpec]).
//
// Invariants:
//
//  1. Nouns and messages meet in the convert files of this package and nowhere else.
//  2. Converting a valid spec to a message and back yields an equal spec; lists without entries come back nil.
//  3. Encodings are deterministic: equal specs have equal bytes.
//  4. A conversion checks only what the noun cannot express (durations, unknown messages) and names the field; rules
//     about values are package api's.
//
// The package does no I/O, keeps no state and starts no goroutines. It must not import anything of Nave but package api.
package navev1
