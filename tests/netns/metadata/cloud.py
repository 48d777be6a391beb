# Prints as JSON what cloud-init's NoCloud source finds, configured by the files below FOLDER/etc/cloud/cloud.cfg.d.
# Nothing of this host is read or written but its kernel command line, for which DEBUG_PROC_CMDLINE stands in.
import glob
import json
import logging
import sys

try:
    from cloudinit import helpers, util
    from cloudinit.sources import DataSourceNoCloud as nocloud
except ImportError:
    sys.exit(3)

logging.disable(logging.CRITICAL)
folder = sys.argv[1]
# A failure is to be seen at once.
util.url_helper.time.sleep = lambda seconds: None
nocloud.DataSourceNoCloud._get_devices = lambda self, label: []
config = {}
for path in sorted(glob.glob(folder + "/etc/cloud/cloud.cfg.d/*.cfg")):
    with open(path) as file:
        config = util.mergemanydict([util.load_yaml(file.read()), config])
assert config.get("datasource_list", ["NoCloud"]) == ["NoCloud"], config
paths = helpers.Paths({"cloud_dir": folder + "/cloud", "run_dir": folder + "/run"})
source = nocloud.DataSourceNoCloudNet(config, None, paths)
if not source._get_data():
    sys.exit("no data")
parts = source.get_userdata(apply_filter=False).get_payload()
print(json.dumps({
    "instance-id": source.get_instance_id(),
    "hostname": source.metadata.get("local-hostname"),
    "keys": source.get_public_ssh_keys(),
    "network": source.network_config,
    "config": util.load_yaml(util.fully_decoded_payload(parts[0])),
}))
