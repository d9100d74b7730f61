package api

import (
	"encoding/hex"
	"time"
)

// CheckpointID is the SHA-256 of a checkpoint's manifest, as 64 lower-case hexadecimal digits.
type CheckpointID string

// KeepCheckpoints is how many durable checkpoints of a session are kept.
const KeepCheckpoints = 3

// MaxCheckpointBytes bounds what one checkpoint adds to the bucket.
const MaxCheckpointBytes = 8 << 30

// MaxManifestBytes bounds the manifest of one checkpoint.
const MaxManifestBytes = 64 << 20

// Valid reports whether the id has its form.
func (c CheckpointID) Valid() bool {
	b, err := hex.DecodeString(string(c))
	return err == nil && len(b) == 32 && hex.EncodeToString(b) == string(c)
}

// CheckpointPart is one of the two objects of a checkpoint.
type CheckpointPart string

// The parts of a checkpoint.
const (
	// PartManifest lists the files and names for each chunk the pack that has it. Its SHA-256 is the checkpoint's id.
	PartManifest CheckpointPart = "manifest"
	// PartPack holds the chunks that no earlier pack has that the manifest refers to. A pack is never changed, so that
	// nothing that a checkpoint needs can vanish while it is made.
	PartPack CheckpointPart = "pack"
)

// CheckpointHeader begins the upload of a checkpoint. The manifest follows, then the pack.
type CheckpointHeader struct {
	Session  SessionID
	Source   Source // epoch and attempt of the workload that made it
	ID       CheckpointID
	Manifest int64          // bytes
	Pack     int64          // bytes; 0: it has no pack of its own
	PackHash [32]byte       // SHA-256 of the pack
	Packs    []CheckpointID // the other checkpoints whose packs the manifest refers to
}

// StateWant says which state an attempt begins from.
type StateWant struct {
	// Latest is the state after the last turn record. It may be nowhere but beside the workload. Empty: as Saved.
	Latest CheckpointID
	// Saved is the last checkpoint in the bucket; empty when there is none yet.
	Saved CheckpointID
	// OnLoss says what to do when neither can be restored though one is named.
	OnLoss OnStateLoss
	// Mode and Interval say when checkpoints are taken.
	Mode     CheckpointMode
	Interval time.Duration
}
