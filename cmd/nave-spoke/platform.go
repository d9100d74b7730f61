package main

import (
	"os"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/version"
	"github.com/nave-dev/nave/spoke/kube"
)

// What sessions run as.
const (
	asProcesses = "process"
	asPods      = "kubernetes"
)

// platform is what the flags say of where sessions run.
type platform struct {
	Runtime      string // asProcesses or asPods
	settingsFile string
	Settings     kube.Settings // read from it
	Kubeconfig   string        // path; empty: the access of the pod that this program runs in
	Namespace    string        // of the spoke itself; empty: see access
	DoorListen   string        // host:port for harnesses in pods

	ServiceAccount string // of the spoke itself

	given func(flag string) bool
}

// podFlags say something of pods alone.
var podFlags = []string{"kubernetes", "kubeconfig", "namespace", "door-listen", "service-account"}

func (p *platform) bind(f *pflag.FlagSet) {
	p.given = f.Changed
	f.StringVar(&p.Runtime, "runtime", asProcesses, "what sessions run as: process, on this machine, or kubernetes, pods of the cluster")
	f.StringVar(&p.settingsFile, "kubernetes", "", "with --runtime kubernetes: file of what the operator says of the cluster")
	f.StringVar(&p.Kubeconfig, "kubeconfig", "", "with --runtime kubernetes: file of the access to the cluster (default: that of the pod that this program runs in)")
	f.StringVar(&p.Namespace, "namespace", "", "with --runtime kubernetes: namespace of the spoke itself (default: that of its pod, or of the kubeconfig's context)")
	f.StringVar(&p.ServiceAccount, "service-account", "nave-spoke", "with --runtime kubernetes: service account of the spoke itself, which gets the rights in namespaces that it makes")
	f.StringVar(&p.DoorListen, "door-listen", ":7443", "with --runtime kubernetes: address that the harnesses in pods connect to")
}

func (p *platform) complete() error {
	switch p.Runtime {
	case asProcesses:
		for _, flag := range podFlags {
			if p.given(flag) {
				return api.Invalid("--"+flag, "says something of pods, and sessions run as processes: give --runtime %s too, or leave it out", asPods)
			}
		}
		return nil
	case asPods:
	default:
		return api.Invalid("--runtime", "%q: want %s or %s", p.Runtime, asProcesses, asPods)
	}
	if p.settingsFile == "" {
		return api.Invalid("--kubernetes", "is missing: name the file of what is said of the cluster; docs/operations/kubernetes.md has one to begin with")
	}
	var err error
	p.Settings, err = kube.ReadSettings(p.settingsFile)
	return err
}

// ownNamespace is where a pod finds in which namespace it is.
const ownNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// access is the way to the cluster's API server, and the namespace that the spoke is in.
func (p *platform) access() (*rest.Config, string, error) {
	config, namespace, err := p.read()
	if err != nil {
		return nil, "", err
	}
	config.UserAgent = "nave-spoke/" + version.Version
	return config, namespace, nil
}

func (p *platform) read() (*rest.Config, string, error) {
	if p.Kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, "", api.Invalid("--kubeconfig", "is missing, and this is no pod with a service account: %v", err)
		}
		if p.Namespace != "" {
			return config, p.Namespace, nil
		}
		b, err := os.ReadFile(ownNamespace)
		if err != nil {
			return nil, "", api.Invalid("--namespace", "is missing, and the pod does not know its own: %v", err)
		}
		return config, strings.TrimSpace(string(b)), nil
	}
	of := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: p.Kubeconfig}, &clientcmd.ConfigOverrides{})
	config, err := of.ClientConfig()
	if err != nil {
		return nil, "", api.Invalid("--kubeconfig", "%v", err)
	}
	if p.Namespace != "" {
		return config, p.Namespace, nil
	}
	raw, err := of.RawConfig()
	if err != nil {
		return nil, "", api.Invalid("--kubeconfig", "%v", err)
	}
	if at := raw.Contexts[raw.CurrentContext]; at != nil && at.Namespace != "" {
		return config, at.Namespace, nil
	}
	return nil, "", api.Invalid("--namespace", "is missing, and the context of %s names none", p.Kubeconfig)
}
