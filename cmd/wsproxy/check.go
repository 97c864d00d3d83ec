package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"wsproxy/config"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Validate a configuration: every problem at once, with its place",
		Args: func(c *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(c, args); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := loadConfig(args[0])
			if err != nil {
				return err
			}
			cfg.Log.Level = config.LogLevelError
			a, err := newApp(c.Context(), cfg, options{dry: true})
			if err != nil {
				return err
			}
			defer a.close()
			fmt.Fprintf(c.OutOrStdout(), "%s is valid\n", args[0])
			return nil
		},
	}
}
