package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/dev"
)

// defaultConfigFile is where the configuration is expected when no flag names it: where the image of the hub has it, so that what runs beside a hub in
// its pod needs no flag.
const defaultConfigFile = "/etc/nave/hub.yaml"

// configured adds the flag --config to a command, which runs with what the file says.
func configured(c *cobra.Command, run func(*cobra.Command, config) error) *cobra.Command {
	file := c.Flags().String("config", defaultConfigFile, "the configuration file")
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := readConfig(*file)
		if errors.Is(err, fs.ErrNotExist) && !c.Flags().Changed("config") {
			return api.Invalid("--config", "is missing, and there is no %s: name the configuration file", defaultConfigFile)
		}
		if err != nil {
			return err
		}
		return run(c, cfg)
	}
	return c
}

func adminTokenCommand() *cobra.Command {
	return configured(&cobra.Command{
		Use:   "admin-token",
		Short: "Print the token of the first administrator",
		Long: `Print the token of the first administrator, and nothing else, on standard output. Where the API listens, and which names
its certificate has, is said on standard error. Only files are read: the hub runs meanwhile.`,
	}, func(c *cobra.Command, cfg config) error {
		return printAdminToken(cfg, c.OutOrStdout(), c.ErrOrStderr())
	})
}

func printAdminToken(cfg config, out, note io.Writer) error {
	kept := dev.Kept(cfg.DataDir)
	token, err := kept.AdminToken()
	if err != nil {
		return notYet(err, "token of the first administrator", cfg.DataDir)
	}
	ports, err := kept.Ports()
	if err != nil {
		return err
	}
	names, err := cfg.API.names()
	if err != nil {
		return err
	}
	fmt.Fprintf(note, "the API listens on %s (gRPC on %s); its certificate names %s\n", ports.HTTP, ports.GRPC, strings.Join(names, ", "))
	_, err = fmt.Fprintln(out, token)
	return err
}

// names are those by which the API's certificate may be believed. Loopback is always one where the certificate is the hub's own.
func (c apiConfig) names() ([]string, error) {
	if c.TLS.CertFile == "" {
		return append([]string{"localhost", "127.0.0.1"}, c.Hosts...), nil
	}
	pair, _, err := c.TLS.load()
	if err != nil {
		return nil, err
	}
	names := pair.Leaf.DNSNames
	for _, ip := range pair.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names, nil
}

func caCommand() *cobra.Command {
	return configured(&cobra.Command{
		Use:   "ca",
		Short: "Print the authority of the API's certificate",
		Long: `Print the authority by which the API's certificate is believed, as PEM: the hub's own, or the last one in api.tls.cert_file.
Only files are read: the hub runs meanwhile.`,
	}, func(c *cobra.Command, cfg config) error { return printAuthority(cfg, c.OutOrStdout()) })
}

func printAuthority(cfg config, out io.Writer) (err error) {
	var ca []byte
	if cfg.API.TLS.CertFile != "" {
		_, ca, err = cfg.API.TLS.load()
	} else if ca, err = dev.Kept(cfg.DataDir).Authority(); err != nil {
		err = notYet(err, "authority of the API", cfg.DataDir)
	}
	if err != nil {
		return err
	}
	_, err = out.Write(ca)
	return err
}

// notYet says what to do where the hub has not made something.
func notYet(err error, what, dir string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return api.Errorf(api.CodeNotFound, "the hub of %s has not made the %s yet: its first start does, wait until it is ready", dir, what)
}

func newTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use: "new-token", Short: "Print a fresh token for api.admin_token_file", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			token, _, err := hub.NewToken(rand.Reader)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), token)
			return err
		},
	}
}

// chosenToken is the first administrator's token that the operator chose; "" when the hub is to make one.
func (c apiConfig) chosenToken() (string, error) {
	const field = "api.admin_token_file"
	if c.AdminTokenFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(c.AdminTokenFile)
	if err != nil {
		return "", api.Invalid(field, "%w", err)
	}
	token := strings.TrimSpace(string(b))
	if !dev.IsToken(token) { // never repeated: it may be another secret
		return "", api.Invalid(field, "%s holds no token, which is nave_ and 43 characters: nave-hub new-token prints one", c.AdminTokenFile)
	}
	return token, nil
}

// admin makes sure that the first administrator's token is known to the store, and that a former one is not. Before a token is in the store it is in
// the data directory: wherever a start is cut off, the next one knows which tokens may be valid.
func (p *program) admin(ctx context.Context, credentials hub.Credentials) (string, error) {
	if p.chosen != "" {
		former, err := dev.Kept(p.dir.Path).AdminToken()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if former != "" && former != p.chosen {
			if err := credentials.PutCredential(ctx, sha256.Sum256([]byte(former)), ended(firstAdministrator)); err != nil {
				return "", fmt.Errorf("end the former administrator's token: %w", err)
			}
			p.log.Info("the first administrator's token is another one, the former is valid no more")
		}
		if former != p.chosen {
			if err := p.dir.SaveAdminToken(p.chosen); err != nil {
				return "", err
			}
		}
	}
	token, err := p.dir.AdminToken()
	if err != nil {
		return "", err
	}
	if err := credentials.PutCredential(ctx, sha256.Sum256([]byte(token)), firstAdministrator); err != nil {
		return "", fmt.Errorf("keep the administrator's token: %w", err)
	}
	return token, nil
}

var firstAdministrator = hub.Credential{Org: api.DefaultOrg, Subject: "admin", Role: hub.RoleAdmin}

// ended is a credential that is valid no more.
func ended(c hub.Credential) hub.Credential {
	c.ExpiresAt = time.Unix(1, 0)
	return c
}
