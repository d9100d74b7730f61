// Package tenant is what belongs into the namespace in which an organization's sessions run, and what keeps them apart from each
// other and from the cluster: pod security, network policies, quota, the sessions' service account, the budget that keeps pods in which a
// turn runs from being evicted, and the spoke's rights.
//
// The way of a namespace: a [Spec] says whose it is and what its sessions may take and reach; [Objects] renders it, purely; the
// chart writes the same objects, or [Keeper.Apply] does where the operator lets the spoke manage namespaces; there the [Caretaker] finds
// what was made by the cluster's label and repairs it every few minutes. [Keeper.Check] is the self-test: what of it is missing, and what to do.
//
// Invariants:
//
//  1. All pods of the namespace are held by the restricted pod security standard and by a policy that allows nothing, in or out.
//     What is allowed beyond is DNS, the spoke's port, and declared ranges, from which the API server's addresses, those of the
//     cluster where they are given, and the metadata addresses of clouds ([Never]) are always taken out.
//  2. The spoke's rights in the namespace are [Rules] and nothing beyond: no secrets, no exec, no service accounts, no roles.
//  3. Apply writes by server-side apply as field manager [Manager]; what it owns it repairs, what others own it leaves alone. A second
//     Apply changes nothing, and writes nothing: what is as it was left is only looked at. It deletes nothing, ever.
//     A repair is logged once, with what was changed. The caretaker makes no namespace that is gone; the next session of its organization does.
//  4. A namespace that exists and is not ours is refused, unless somebody with rights over it has written the annotation
//     [AnnotationAdopt] with the organization's name. A namespace of another organization is refused in any case, and so are the spoke's
//     own, default and all whose names begin with kube-. One that the spoke of another cluster keeps is not ours.
//  5. The service account comes last: pods need it, so none runs in a namespace that is not whole.
//  6. Check claims nothing from looking at objects. Pod security and the service account are shown by asking the API server to
//     create pods that it then does not keep (dry runs); rights by asking what the spoke may do. Whether the network plugin does
//     what policies say nobody can ask: it is what the operator says ([Spec.PoliciesEnforced]), and otherwise unknown.
//
// Rights. Without management the spoke has a Role in each namespace and nothing in the whole cluster. With management it needs three
// things in the whole cluster ([ClusterObjects]): to list, get, create and patch namespaces; to get, create and patch role bindings; and to
// bind two cluster roles, named, and no other. The one holds [Rules], the other what the rest of [Objects] takes (service accounts,
// quotas, limit ranges, network policies, the disruption budget); the spoke binds both to itself in a namespace that it made, and has the rights there only.
// This is the least form: an API server lets nobody hand out rights that he does not have, unless he may bind that very role by
// name; so the spoke needs neither escalate, nor the right to write roles, nor any of those rights in other namespaces. Rights alone cannot
// say "in namespaces that it made"; a validating admission policy among the same objects does: the spoke's service account may touch
// namespaces that begin with the prefix and carry its labels, and there bind these roles to itself, and nothing else. Without that policy
// (Kubernetes before 1.30) a stolen credential of the spoke could bind itself into any namespace.
//
// The package never imports the generated set of all clients, which costs forty megabytes, nor package kube. It starts no goroutine:
// [Caretaker.Run] is its caller's.
package tenant
