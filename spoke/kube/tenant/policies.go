package tenant

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// labelName is what every namespace carries of itself.
const labelName = corev1.LabelMetadataName

// policies are the network policies. Each holds for all pods of the namespace; what one allows none takes back.
func (s Spec) policies() ([]runtime.Object, error) {
	ranges, err := s.Template.ranges(s.EgressCIDRs)
	if err != nil {
		return nil, err
	}
	var egress []networkingv1.NetworkPolicyEgressRule
	for _, c := range ranges {
		block := &networkingv1.IPBlock{CIDR: c.reach.String(), Except: c.except}
		egress = append(egress, networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{{IPBlock: block}}})
	}
	out := []runtime.Object{
		s.policy("default-deny", networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress),
		s.allow("allow-dns", networkingv1.NetworkPolicyEgressRule{
			To:    pods("kube-system", map[string]string{"k8s-app": "kube-dns"}),
			Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, 53), port(corev1.ProtocolTCP, 53)},
		}),
		s.allow("allow-spoke", networkingv1.NetworkPolicyEgressRule{
			To: pods(s.SpokeNamespace, s.SpokeLabels), Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, s.SpokePort)},
		}),
	}
	if s.Manage || len(egress) > 0 {
		out = append(out, s.allow("allow-egress", egress...))
	}
	return out, nil
}

// allow is a policy of what may be reached.
func (s Spec) allow(name string, rules ...networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
	p := s.policy(name, networkingv1.PolicyTypeEgress)
	p.Spec.Egress = rules
	return p
}

// policy is one that allows nothing of these kinds.
func (s Spec) policy(name string, of ...networkingv1.PolicyType) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta: kind(networkingv1.SchemeGroupVersion.String(), "NetworkPolicy"), ObjectMeta: s.meta(name),
		Spec: networkingv1.NetworkPolicySpec{PolicyTypes: of},
	}
}

func pods(namespace string, labels map[string]string) []networkingv1.NetworkPolicyPeer {
	return []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{labelName: namespace}},
		PodSelector:       &metav1.LabelSelector{MatchLabels: labels},
	}}
}

func port(protocol corev1.Protocol, number int32) networkingv1.NetworkPolicyPort {
	at := intstr.FromInt32(number)
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &at}
}
