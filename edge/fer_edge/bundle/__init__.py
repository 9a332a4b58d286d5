"""The first-boot bundle: a folder for a card's boot partition that makes a Raspberry Pi install fer-edge by itself.

::

    BundleOptions ──► build.make_bundle ──► DIR/user-data, meta-data, network-config   (Trixie: cloud-init)
                        │                   DIR/firstrun.sh                            (Bookworm: systemd.run=)
                        │                   DIR/fer-edge/first-boot.sh, installer/, wheels/, debs/, models/, ...
                        ├── wheels.py       pip: the wheels for the card's Python and processor
                        ├── debs.py         apt: the kiosk's packages, for cards that never see a network
                        ├── network.py      Wi-Fi: the derived key in place of the passphrase
                        └── first_boot.py   cloud-init's files and the settings of our own scripts

What runs on the card is shell: systemd/first-boot/.
"""
