package checkpoint

import "github.com/nave-dev/nave/api"

// Limits bound what one checkpoint may hold. Going past one is an error of CodeLimit that names it.
type Limits struct {
	// Entries is how many files, directories and links it may have. Default and most 1,000,000.
	Entries int
	// Manifest is the length of the manifest in bytes. Default and most api.MaxManifestBytes.
	Manifest int64
	// Pack is how many bytes one checkpoint may add to the bucket. Default and most api.MaxCheckpointBytes.
	Pack int64
	// Content is how many bytes all files have together, holes not counted. Default and most 64 GiB.
	Content int64
}

// The most that a checkpoint may hold, and what a reader accepts.
const (
	MaxEntries = 1_000_000
	MaxContent = 64 << 30
	maxDepth   = 1000 // levels of directories; each one is an open file while the tree is walked
	maxName    = 255
	maxTarget  = 4096
	maxPacks   = 64
)

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = MaxEntries
	}
	if l.Manifest == 0 {
		l.Manifest = api.MaxManifestBytes
	}
	if l.Pack == 0 {
		l.Pack = api.MaxCheckpointBytes
	}
	if l.Content == 0 {
		l.Content = MaxContent
	}
	return l
}

func (l Limits) validate() error {
	switch {
	case l.Entries < 1 || l.Entries > MaxEntries:
		return api.Invalid("limits.entries", "%d is not between 1 and %d", l.Entries, MaxEntries)
	case l.Manifest < 1 || l.Manifest > api.MaxManifestBytes:
		return api.Invalid("limits.manifest", "%d is not between 1 and %d", l.Manifest, api.MaxManifestBytes)
	case l.Pack < 1 || l.Pack > api.MaxCheckpointBytes:
		return api.Invalid("limits.pack", "%d is not between 1 and %d", l.Pack, int64(api.MaxCheckpointBytes))
	case l.Content < 1 || l.Content > MaxContent:
		return api.Invalid("limits.content", "%d is not between 1 and %d", l.Content, int64(MaxContent))
	}
	return nil
}
