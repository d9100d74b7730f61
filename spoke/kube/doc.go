// Package kube runs sessions as pods of the spoke's own cluster.
//
// The way of a workload: [Runtime.Start] makes its claim, an immutable ConfigMap of the workload's name that a second start
// collides with and that holds the description, then the pod of the same name, which the claim owns; feeds, one of pods and one of
// claims in each namespace, show [Runtime.List] both by lists and watches; the harness in the pod asks the spoke's door for the description ([Runtime.Describe]) and works;
// [Runtime.Stop] deletes the pod with a grace; when the pod is terminal, or confirmed absent, the workload is Ended, until Stop
// removes what is left, the claim last. These are four writes a life; giving up on a pod that does not start, telling the
// cluster that a turn runs, and once for a revision keeping by which digest its image runs, are further ones.
//
//	in the pod              what it is
//	/nave/bin               the program nave-harness: of an image volume, or put there by an init container
//	/nave/state             home, workspace and chunks of checkpoints; a volume of the session when its environment mounts one there
//	/nave/identity/token    says which pod it is, for the spoke alone
//	/tmp                    temporary files
//	/dev/termination-log    why the harness ended
//
// Volumes of an environment that are not ephemeral are claims of the session, which outlive its pods; [Runtime.Run] asks the hub
// which sessions are over for good and deletes theirs after their time to live.
//
// Invariants:
//
//  1. The claim is made before the pod and deleted after the pod has ended.
//  2. Ended is reported of a pod that was seen terminal, or of one that is confirmed absent: the feed ceased to show it, and
//     after that both a complete list and a question for it by its name, both answered by the storage and not by a cache,
//     were without it.
//  3. While a feed has not had a watch, its last list or watch failed, or its last watch ended more than three seconds ago and none
//     has begun, [Runtime.List] returns an error, never less than there is. A watch has begun when the API server has answered, and what
//     was listed or watched before is shown by then. The last watch of an API server that falls silent ends when the connection does,
//     which the client library finds by pings.
//  4. What does not carry the label of this cluster is neither seen nor deleted, and every list and watch selects by that label.
//     What is deleted is deleted by its UID.
//  5. Nothing secret is in a claim or a pod.
//  6. What a container says of its end is bounded and is never trusted for more than a text and the kind of a failed start.
//  7. The end of a pod that the cluster took away (eviction, preemption, drain, loss of a node) is no failed start.
//  8. A pod carries the label of a running turn, by which the cluster's disruption budget keeps it from being evicted, only while the
//     spoke says that a turn runs; a turn of less than two seconds costs no write, a longer one two.
//  9. Claims of volumes are deleted only on the hub's word: that their session is over, and not before their time to live; those of
//     state also when it goes on in another cluster with a checkpoint of there, and never while a workload of it starts or is here.
//  10. A feed asks by one request at a time, and after a failure with a pause that grows to ten seconds.
//  11. The first pod that says by which digest it runs the image of a revision decides for all that are started after it was seen; what
//     is kept of that counts more than any pod. Pods that were started before may run another image, if the tag was moved meanwhile.
//  12. A namespace that the spoke made and may not look into is asked about, since it hides all others (3): one that is gone, as the storage
//     answers, is left, and its workloads with it; in one that is there the rights are repaired.
//
// What is decided is decided by functions of their arguments: podOf, claimOf, observe, ended, giveUp, wants, sight. The package asks by
// a client of its own for one group of the API, without the typed clients and their factory of informers, which would cost 40 MB
// of code. It must not import the hub or the door. Its goroutines belong to [Runtime.Run].
package kube
