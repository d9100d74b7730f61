// Package store keeps what the hub must not lose in etcd: definitions, clusters, credentials, leases, and the sessions,
// pending signals and outboxes of every shard. It implements [hub.Definitions], [hub.ShardStore], [hub.Clusters],
// [hub.Leases] and [hub.Credentials].
//
// The way of a batch: the committer of the hub calls [Store.Commit] with batches of several shards; each mutation becomes
// one key with a record of package recordv1; one transaction compares the heads of the shards and the leases of the
// clusters that are given work, puts everything together with the next heads, and returns when etcd has synced it. A
// definition goes another way: [Store.Update] reads a view at one revision of etcd, lets the caller decide, and commits
// under the comparison that the organization's definitions did not change since.
//
// [Dial] connects to an etcd of its own; hub/store/embedded runs one in this process.
//
// The keys are a wire format. All are below one prefix (by default "/nave/"); what users name is path-escaped; numbers
// are decimal and padded so that keys sort as numbers do; hashes are lower-case hexadecimal.
//
//	format                                         "1", the version of this table, as text
//	incarnation                                    decimal text; raised when the store is restored from a backup
//	defs/<org>/<kind>/<name>                       Definition, the present revision
//	revs/<org>/<kind>/<id>/<revision, 20 digits>   Definition, one revision; never changed, kept after deletion
//	uses/<org>/<kind>/<name>/<user kind>/<user>    Use: the user refers to the definition
//	defsversion/<org>                              empty; put by every update of the organization's definitions
//	clusters/<id>                                  Cluster
//	clusternames/<org>/<name>                      ClusterName
//	jointokens/<hash>                              JoinToken
//	alive/<cluster id>                             LeaseHolder, under a lease of etcd
//	placed/<cluster id>                            empty; put by every commit that compares alive/<cluster>
//	fingerprints/<cluster id>                      Fingerprint, recorded when the lease is first taken
//	credentials/<hash>                             Credential
//	shards/<shard, 3 digits>/head                  Head
//	shards/<shard>/s/<org>/<session>               Session
//	shards/<shard>/q/<org>/<session>/<seq., 20>    Signal
//	shards/<shard>/a/<org>/<approval>              Approval
//	shards/<shard>/o/<org>/<session>/<number, 20>  OutboxItem
//
// Invariants:
//
//  1. A shard's records change only in a transaction that compares and advances its head.
//  2. A revision of a definition is written once and never changed.
//  3. Every update of definitions compares and puts defsversion/<org>, so updates of one organization are serializable.
//  4. Of the spokes of a cluster only the one named in alive/<cluster> holds the lease; the record dies with the lease.
//  5. A record that is changed from a stored one keeps the fields that this version does not know.
//  6. An etag is the revision of etcd at which the record was last written.
//  7. A cluster is removed only in a transaction that compares placed/<cluster>, so that no assignment slips in between the
//     look that found none and the removal.
//  8. Every call to etcd is bounded by [Config.Timeout].
//  9. A commit is within [Config.MaxOps] and [Config.MaxBytes], or refused before anything is sent.
//
// The package must not import the etcd server; hub/store/embedded does. It starts no goroutines and does not log.
package store
