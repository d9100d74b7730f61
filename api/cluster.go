package api

import "time"

// Cluster is a member with a spoke in it.
type Cluster struct {
	ID        ClusterID
	Org       OrgID
	Name      string // unique in the organization
	Labels    map[string]string
	Taints    []Taint
	Cordoned  bool   // takes no new sessions
	Etag      string // opaque; changes with every write of the declared part
	CreatedAt time.Time
	UpdatedAt time.Time

	Identity string        // overlay identity of the spoke; empty until it enrolled
	Fence    time.Duration // its former spoke was revoked: for so long nobody may be heard before the next one is let in
	Status   ClusterStatus // what the hub observed; not part of the stored record
}

// Health is what the hub knows about a cluster's spoke.
type Health string

// The healths.
const (
	HealthPending Health = "Pending" // registered, and no spoke has enrolled yet, or the one that had was revoked
	HealthLive    Health = "Live"    // heard within the lease
	HealthSuspect Health = "Suspect" // missed beats; no new placements
	HealthLost    Health = "Lost"    // the lease ran out
)

// ClusterStatus is what a spoke reported and the hub observed.
type ClusterStatus struct {
	Health   Health
	Heard    time.Time // last heartbeat by the hub's clock; zero if never
	Version  string    // of the spoke
	Boot     string    // boot id of the spoke
	Capacity Capacity
	Sessions int // sessions assigned to it
}

// Capacity is what a spoke offers.
type Capacity struct {
	Flavors []FlavorCapacity
	Runtime string   // "process" or "kubernetes"
	Missing []string // limits that this platform cannot enforce, e.g. "flavor.memory"
}

// FlavorCapacity is the room for one flavor.
type FlavorCapacity struct {
	Flavor string
	Total  int // workloads of this flavor that fit at all
	Used   int // workloads of this flavor that run
}

// JoinToken is a registered cluster's right to enroll once. Only its hash is stored.
type JoinToken struct {
	Hash      [32]byte // SHA-256 of the secret
	Cluster   ClusterID
	Org       OrgID
	ExpiresAt time.Time
	Key       []byte // SHA-256 of the public key that used it; empty until used
}
