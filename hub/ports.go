package hub

import (
	"cmp"
	"context"
	"io"
	"time"

	"github.com/nave-dev/nave/api"
)

// All ports: safe for concurrent use; slices and pointers that are passed in are not kept or changed, what is returned
// belongs to the caller. Errors are *api.Error; CodeUnavailable means that the same call may be repeated.

// Definitions keeps definitions and their immutable revisions.
type Definitions interface {
	// Update runs decide over a consistent view of one organization and commits what it returns, atomically. When another
	// update was faster, decide runs again over a newer view; it must have no side effects. An error of decide is returned
	// as it is. The definitions are returned as stored (etag filled in); deleted ones are not.
	Update(ctx context.Context, org api.OrgID, decide func(DefinitionView) ([]DefinitionWrite, error)) ([]api.Definition, error)
	// Definition returns one definition; revision 0 is the present one. CodeNotFound when there is none.
	Definition(ctx context.Context, org api.OrgID, kind api.Kind, name string, revision uint64) (api.Definition, error)
	// List returns up to limit definitions of a kind by name, after the name given. Fewer than limit means the end.
	List(ctx context.Context, org api.OrgID, kind api.Kind, after string, limit int) ([]api.Definition, error)
	// Revisions returns up to limit revisions, newest first, below the revision given (0: from the newest).
	Revisions(ctx context.Context, org api.OrgID, kind api.Kind, name string, below uint64, limit int) ([]api.Definition, error)
}

// DefinitionView reads definitions at one revision of the store.
type DefinitionView interface {
	// Definition returns the present revision, or CodeNotFound.
	Definition(kind api.Kind, name string) (api.Definition, error)
	// Users lists the definitions that refer to this one, by kind and name.
	Users(kind api.Kind, name string) ([]api.Ref, error)
}

// DefinitionWrite puts or deletes one definition.
type DefinitionWrite struct {
	Put    *api.Definition // complete but for the etag
	Delete *api.Ref        // kind and name; the revisions stay readable by id
}

// ShardStore keeps sessions, pending signals, approvals and outboxes, each under its shard.
type ShardStore interface {
	// Claim makes the caller the owner: the generation is raised, the batch number goes on.
	Claim(ctx context.Context, shard api.Shard) (api.Head, error)
	// Load returns everything under a shard. The caller has claimed it.
	Load(ctx context.Context, shard api.Shard) (ShardContents, error)
	// Commit applies batches of different shards in one transaction, or none of them. Each compares its head and sets it to
	// Next. CodeConflict when a comparison failed (the caller asks Head and goes on from what it finds), CodeLimit when they
	// are more than one transaction holds and nothing was written; any other error means that the outcome is unknown.
	Commit(ctx context.Context, batches []Batch) error
	// Limits says how much one Commit may hold. It never changes.
	Limits() CommitLimits
	// Head reads a shard's head.
	Head(ctx context.Context, shard api.Shard) (api.Head, error)
}

// CommitLimits bounds one transaction. A batch alone is within them: who makes batches sees to it.
type CommitLimits struct {
	Ops   int // mutations and heads together
	Bytes int // of the records, as [Batch] estimates them
}

// Batch is one atomic change of a shard.
type Batch struct {
	Shard     api.Shard
	From      api.Head // compared
	Mutations []Mutation
	Alive     []api.ClusterID // clusters whose lease must exist; their marks change (see [Departures])
}

// Next is the head after the batch.
func (b Batch) Next() api.Head {
	return api.Head{Generation: b.From.Generation, Batch: b.From.Batch + 1}
}

// Mutation changes one record of an organization: exactly one of the other fields is set.
type Mutation struct {
	Org            api.OrgID
	PutSession     *api.Session
	PutSignal      *api.Signal
	DeleteSignal   *SignalKey
	PutOutbox      *OutboxItem
	DeleteOutbox   *OutboxKey
	DeleteSession  api.SessionID
	PutApproval    *api.Approval
	DeleteApproval api.ApprovalID
}

// SignalKey names a pending signal.
type SignalKey struct {
	Session  api.SessionID
	Sequence uint64
}

// OutboxKey names an event of the hub's own source that the archive does not have yet.
type OutboxKey struct {
	Session api.SessionID
	Number  uint64 // source number
}

// OutboxItem is an event of the hub's own, written in the transaction of the change that it reports. That a signal was accepted
// is in none: it follows from the signal's record.
type OutboxItem struct {
	Event    api.Event     // Source is the hub's, Number 0
	Decision *api.Decision // the explanation that goes with it, or nil
}

// ShardContents is what a shard holds.
type ShardContents struct {
	Sessions []api.Session
	Signals  []api.Signal // by session and sequence
	Outbox   []OutboxItem // by session and source number

	Approvals []api.Approval // by id
}

// Archive keeps history.
type Archive interface {
	// Raise fences a shard: appends of lower generations are refused from now on. Raising to the present generation is no
	// error, to a lower one CodeConflict.
	Raise(ctx context.Context, shard api.Shard, g api.Generation) error
	// Positions returns how far the logs of a shard's sessions reach, for those that have one.
	Positions(ctx context.Context, shard api.Shard) (map[api.SessionID]LogPosition, error)
	// Append writes all appends in one transaction, or none. CodeConflict when a generation was passed: the indexes of the
	// refused ones are in the *StaleError. An event or settled signal that is there already with the same content is
	// skipped; with different content the call fails with CodeInternal. A settled signal whose id is there stays as it is: the first one
	// counts.
	Append(ctx context.Context, appends []Append) error
	// Keys looks idempotency keys of settled signals up. Those not found are missing from the answer.
	Keys(ctx context.Context, org api.OrgID, keys []KeyScope) (map[KeyScope]SettledSignal, error)
	// Settled returns those of the signals that are settled.
	Settled(ctx context.Context, signals []api.SignalID) (map[api.SignalID]bool, error)
	// Branch says what is known of a source that memory does not have: of a former epoch, or of a session that ended.
	// CodeNotFound when no decision placed the session in that epoch.
	Branch(ctx context.Context, session api.SessionID, source api.Source) (Branch, error)
	// Ended returns those of the sessions that were terminated and are over, and that a decision placed in the cluster at some
	// time.
	Ended(ctx context.Context, cluster api.ClusterID, sessions []api.SessionID) ([]api.SessionID, error)
	// LastEpochs returns of each of the sessions that a decision placed in the cluster the last epoch in which one did.
	LastEpochs(ctx context.Context, cluster api.ClusterID, sessions []api.SessionID) (map[api.SessionID]api.Epoch, error)
	// EndedEpochs returns those of the epochs that a decision placed in the cluster and whose session was terminated and is over,
	// each with its organization.
	EndedEpochs(ctx context.Context, cluster api.ClusterID, epochs []SessionEpoch) (map[SessionEpoch]api.OrgID, error)
	// AppendSide keeps events whose epoch was over, for people to read; they get no number. What is there already is
	// skipped. It needs no generation: it changes no log. CodeConflict when the batch does not continue what log and side
	// branch have of its source: nothing is kept, the producer must send from there on.
	AppendSide(ctx context.Context, org api.OrgID, batch api.EventBatch, cluster api.ClusterID, at time.Time) error
}

// SessionEpoch names an epoch of a session.
type SessionEpoch struct {
	Session api.SessionID
	Epoch   api.Epoch
}

func (e SessionEpoch) compare(other SessionEpoch) int {
	return cmp.Or(cmp.Compare(e.Session, other.Session), e.Epoch.Compare(other.Epoch))
}

// Branch is how far a source of a former epoch was taken.
type Branch struct {
	Org     api.OrgID
	Cluster api.ClusterID // that the epoch was placed in
	Log     uint64        // last source number in the session's log
	Side    uint64        // last source number in its side branch
}

// Reader reads history for people and programs.
type Reader interface {
	// Events returns up to limit events from a number on, in order.
	Events(ctx context.Context, org api.OrgID, session api.SessionID, from uint64, limit int) ([]api.Event, error)
	// Decisions returns up to limit decisions, newest first.
	Decisions(ctx context.Context, org api.OrgID, session api.SessionID, limit int) ([]api.Decision, error)
	// Side returns up to limit events of side branches after a position in the order of their arrival (0: from the first),
	// and the position behind the last one.
	Side(ctx context.Context, org api.OrgID, session api.SessionID, after uint64, limit int) ([]SideEvent, uint64, error)
	// DeadLetters returns up to limit dead letters without their payloads, latest first, and the position to go on after
	// ("" begins).
	DeadLetters(ctx context.Context, org api.OrgID, f DeadFilter, after string, limit int) ([]SettledSignal, string, error)
	// DeadLetter returns one with its payload. CodeNotFound when it is not a dead letter of the organization.
	DeadLetter(ctx context.Context, org api.OrgID, id api.SignalID) (SettledSignal, error)
	// Terminated returns the record of a session that ended. CodeNotFound when there is none.
	Terminated(ctx context.Context, org api.OrgID, id api.SessionID) (api.Session, error)
}

// Pruner forgets what is kept for a time only.
type Pruner interface {
	// Prune forgets the idempotency keys of up to limit signals (1 to 10,000) that were settled before a time, the oldest
	// first, and returns of how many; fewer than limit means that nothing older is left. Dead letters stay until what
	// repeats them is forgotten. The caller has loaded every shard first, so that the store holds no signal that is settled.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
}

// SideEvent is an event of a side branch.
type SideEvent struct {
	Event      api.Event // Number 0
	ReceivedAt time.Time
}

// DeadFilter selects dead letters. Empty fields select all.
type DeadFilter struct {
	Agent   api.ObjectID
	Session api.SessionID
}

// Bucket keeps payloads that are too large for a record.
type Bucket interface {
	// Put writes a payload and returns its key. The same payload has the same key; it is durable when Put returns.
	Put(ctx context.Context, org api.OrgID, payload []byte) (key string, err error)
	// Fetch returns what was put under a key, verified.
	Fetch(ctx context.Context, key string) ([]byte, error)
}

// Vault keeps checkpoints. A checkpoint is a manifest, and a pack with the chunks that no earlier pack has; both are named by
// session and checkpoint and never change.
type Vault interface {
	// SaveCheckpoint reads header.Manifest bytes and then header.Pack bytes, verifies both hashes, and that the packs that the
	// header names exist. When it returns nil all of it is durable. Saving what is there is no error. CodeInvalid when the
	// content is not what the header says, CodeFailed when a pack that it names is gone.
	SaveCheckpoint(ctx context.Context, org api.OrgID, header api.CheckpointHeader, content io.Reader) error
	// HasCheckpoint reports whether a checkpoint is complete and durable.
	HasCheckpoint(ctx context.Context, org api.OrgID, session api.SessionID, id api.CheckpointID) (bool, error)
	// FetchCheckpoint writes length bytes of a part from offset on; length 0 means to the end. CodeNotFound when there is none.
	FetchCheckpoint(ctx context.Context, org api.OrgID, session api.SessionID, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error
	// CollectCheckpoints removes the checkpoints of a session that were saved before the oldest of keep and are neither in keep
	// nor have a pack that one of keep needs. With keep empty everything of the session is removed. It returns how many
	// objects it removed.
	CollectCheckpoints(ctx context.Context, org api.OrgID, session api.SessionID, keep []api.CheckpointID) (removed int, err error)
}

// LogPosition is how far a session's log reaches.
type LogPosition struct {
	Number  uint64                // last number
	Sources map[api.Source]uint64 // last source number, per source
}

// Append is what one batch of one shard adds to the archive.
type Append struct {
	Shard      api.Shard
	Generation api.Generation
	Org        api.OrgID
	Events     []api.Event // numbered
	Settled    []SettledSignal
	Decisions  []api.Decision
	Terminated []api.Session // sessions that ended: their records, kept for people
}

// KeyScope is where an idempotency key is unique. It survives the session's termination.
type KeyScope struct {
	Agent      api.ObjectID
	SessionKey string
	Key        string
}

// SettledSignal is a signal that left the inbox, with what later duplicates are answered with.
type SettledSignal struct {
	Signal    api.Signal // done or cancelled: without its payload
	Scope     KeyScope   // Key empty: not deduplicated
	Outcome   string     // "done", "cancelled" or "dead"
	Reason    string     // why it is dead: at most 1 KiB
	AgentName string     // for people
	SettledAt time.Time

	ReplayedAs api.SignalID // of a dead letter: the settled signal that repeats it; only from a Reader
}

// Clusters keeps the registered clusters and their join tokens.
type Clusters interface {
	// CreateCluster writes a new cluster and its join token. CodeExists when the name is taken.
	CreateCluster(ctx context.Context, c api.Cluster, t api.JoinToken) (api.Cluster, error)
	// UpdateCluster replaces a cluster if its etag is still c.Etag. CodeConflict when it is not.
	UpdateCluster(ctx context.Context, c api.Cluster) (api.Cluster, error)
	// Clusters returns all clusters of all organizations, by id.
	Clusters(ctx context.Context) ([]api.Cluster, error)
	// BindToken ties a join token to the first key that presents it and returns the token. The same key may repeat.
	// CodeDenied for an unknown, expired or otherwise bound token; the last one with the field "key".
	BindToken(ctx context.Context, hash [32]byte, key []byte, now time.Time) (api.JoinToken, error)
}

// Departures takes clusters and spokes out.
type Departures interface {
	// Placements returns a mark that changes with every assignment to the cluster that is committed (see [Batch.Alive]).
	Placements(ctx context.Context, id api.ClusterID) (mark int64, err error)
	// DeleteCluster removes a cluster with its tokens and its lease, if its etag and its mark are still the given ones:
	// nothing was assigned to it since, and nothing can be any more. CodeConflict when one of them is not.
	DeleteCluster(ctx context.Context, id api.ClusterID, etag string, mark int64) error
	// RejoinCluster replaces a cluster if its etag is still c.Etag, and its tokens by a new one; the recorded fingerprint is
	// forgotten. A lease that is held runs out by itself, so that the time since it is gone means what it always does.
	// CodeConflict when the etag is another.
	RejoinCluster(ctx context.Context, c api.Cluster, t api.JoinToken) (api.Cluster, error)
}

// Leases decides in the store which spoke is the live one of its cluster.
type Leases interface {
	// Take gives the cluster's lease to a boot. CodeConflict while another boot with another journal holds it. A boot with
	// the journal of the holder takes over. CodeDenied with the field "identity" when h's is not the cluster's, with the
	// field "fingerprint" when another one is recorded.
	Take(ctx context.Context, c api.ClusterID, h LeaseHolder, ttl time.Duration) error
	// Renew prolongs the lease of the boot that holds it; it returns after the store confirmed. CodeConflict when it does
	// not hold it any more.
	Renew(ctx context.Context, c api.ClusterID, boot string) error
	// Holders returns who holds which lease now.
	Holders(ctx context.Context) (map[api.ClusterID]LeaseHolder, error)
}

// LeaseHolder is the live spoke of a cluster.
type LeaseHolder struct {
	Boot        string
	Journal     string
	Fingerprint string
	Identity    string // of the overlay: it must be the cluster's when the lease is taken; it is not kept
}

// Credentials keeps bearer tokens, hashed.
type Credentials interface {
	// PutCredential writes a credential under the hash of its secret.
	PutCredential(ctx context.Context, hash [32]byte, c Credential) error
	// Credential returns it, or CodeNotFound.
	Credential(ctx context.Context, hash [32]byte) (Credential, error)
}

// Credential says who a bearer token is.
type Credential struct {
	Org       api.OrgID
	Subject   string
	Role      Role
	ExpiresAt time.Time // zero: never
}

// Overlay manages the identities of spokes.
type Overlay interface {
	// CreateIdentity makes an identity anew under a name (an older one of that name is gone then) and returns its id and
	// the one-time token with which its owner enrolls.
	CreateIdentity(ctx context.Context, name string) (id, token string, err error)
	// DeleteIdentity removes an identity; its connections are cut. An unknown id is no error.
	DeleteIdentity(ctx context.Context, id string) error
}
