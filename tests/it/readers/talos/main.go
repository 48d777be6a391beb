// Prints FILE, a tab, and what Talos minds in a machine configuration; nothing where it takes it without a warning.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
)

// mode is a machine of metal that is installed.
type mode struct{}

func (mode) String() string        { return "metal" }
func (mode) RequiresInstall() bool { return true }
func (mode) InContainer() bool     { return false }

func main() {
	for _, path := range os.Args[1:] {
		why := ""
		if config, err := configloader.NewFromFile(path); err != nil {
			why = err.Error()
		} else {
			warnings, err := config.Validate(mode{})
			why = strings.Join(warnings, " ")
			if err != nil {
				why = err.Error() + " " + why
			}
		}
		fmt.Printf("%s\t%s\n", path, strings.Join(strings.Fields(why), " "))
	}
}
