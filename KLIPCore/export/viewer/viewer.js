/* The report's viewer: volumes from the page's own text, drawn by NiiVue, steered by table, controls and keys.
   The page works without it: everything here begins with the section hidden and shows it once all is drawn. */
(() => {
  'use strict'
  const byId = (id) => document.getElementById(id)
  const section = byId('viewer')
  if (!section || typeof DecompressionStream === 'undefined') return
  if (!document.createElement('canvas').getContext('webgl2')) return

  const settings = JSON.parse(byId('v-settings').textContent)
  const canvas = byId('v-canvas')
  const [depth, rows, columns] = settings.shape
  const HEADER = 352
  const ARRAYS = { 2: Uint8Array, 4: Int16Array, 512: Uint16Array } // by NIfTI's code of the type
  const WINDOWS = [
    ['As the prior sees it', ...settings.window],
    ['Soft tissue', -160, 240],
    ['Liver', -20, 140],
    ['Lung', -1350, 150],
    ['Bone', -450, 1050]
  ]
  const LAYOUTS = {
    wide: [[0, [0.005, 0, 0.64, 1]], [1, [0.655, 0, 0.335, 0.495]], [2, [0.655, 0.505, 0.335, 0.495]]],
    narrow: [[0, [0.01, 0, 0.97, 0.62]], [1, [0.01, 0.625, 0.475, 0.375]], [2, [0.505, 0.625, 0.475, 0.375]]]
  }
  let niivue = null // the library
  let viewer = null
  const volumes = {} // name → {file, values, slope, intercept} and, where NiiVue draws it, its image
  let overlay = null // NiiVue's image of map and outlines
  let turned = 0 // of the wheel, not yet used
  let due = 0 // the frame in which controls take effect

  /** The bytes of a gzipped file that lies in the page as base64. */
  async function unpacked (id) {
    const element = byId(id)
    if (!element) return null
    const text = atob(element.textContent.trim())
    element.remove() // the text is not needed again
    const bytes = new Uint8Array(text.length)
    for (let n = 0; n < text.length; n++) bytes[n] = text.charCodeAt(n)
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
    return new Response(stream).arrayBuffer()
  }

  /** Run NiiVue; the page's policy knows its hash. */
  async function loadLibrary () {
    const code = document.createElement('script')
    code.textContent = new TextDecoder().decode(await unpacked('v-library'))
    document.head.append(code)
    niivue = window.niivue
  }

  /** Read one volume. */
  async function loadVolume (name) {
    const file = await unpacked('v-data-' + name)
    if (!file) return
    const view = new DataView(file)
    const values = new ARRAYS[view.getInt16(70, true)](file, HEADER)
    volumes[name] = { file, values, slope: view.getFloat32(112, true), intercept: view.getFloat32(116, true) }
  }

  /** NiiVue's image of a volume in grey. */
  function grey (name, opacity) {
    return niivue.NVImage.new(volumes[name].file, name + '.nii', 'klip-grey', opacity, null, ...settings.window)
  }

  /** NiiVue's image of map and outlines: RGBA, for only there its overlays keep graded opacity. */
  function emptyOverlay () {
    const file = new ArrayBuffer(HEADER + 4 * depth * rows * columns)
    new Uint8Array(file).set(new Uint8Array(volumes.map.file, 0, HEADER))
    const view = new DataView(file)
    view.setInt16(70, 2304, true) // RGBA
    view.setInt16(72, 32, true)
    view.setFloat32(112, 1, true)
    view.setFloat32(116, 0, true)
    return niivue.NVImage.new(file, 'overlay.nii', '', 1)
  }

  /** Voxels on the rim of a region within their axial slice. */
  function rims () {
    const labels = volumes.labels.values
    const wide = settings.rim
    const found = []
    for (let n = 0; n < labels.length; n++) {
      if (!labels[n]) continue
      const i = n % columns
      const j = Math.floor(n / columns) % rows
      const inside = i >= wide && i < columns - wide && j >= wide && j < rows - wide &&
        [-wide, wide, -wide * columns, wide * columns].every((step) => labels[n + step] === labels[n])
      if (!inside) found.push(n)
    }
    return found
  }

  function packedColour (r, g, b, a) {
    return (r | g << 8 | b << 16 | a << 24) >>> 0
  }

  /** Colour the overlay: the report's colours from `low` to `high`, nothing below the threshold, then outlines. */
  function paint (threshold, opacity, outlines) {
    const { values, slope, intercept } = volumes.map
    const [R, G, B, A] = settings.map_colours
    const hair = slope / 2 // values are rounded
    const table = new Uint32Array(256 ** values.BYTES_PER_ELEMENT)
    for (let n = 0; n < table.length; n++) {
      const nats = slope * n + intercept
      const at = Math.round(255 * Math.min(1, Math.max(0, (nats - settings.low) / (settings.high - settings.low))))
      table[n] = packedColour(R[at], G[at], B[at], nats < threshold - hair ? 0 : Math.round(opacity * A[at]))
    }
    const pixels = new Uint32Array(overlay.img.buffer, overlay.img.byteOffset, values.length)
    for (let n = 0; n < values.length; n++) pixels[n] = table[values[n]]
    if (!outlines) return
    const colours = {}
    for (const { label, colour } of settings.regions) {
      colours[label] = packedColour(...[1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)), 255)
    }
    for (const n of volumes.labels.rims) pixels[n] = colours[volumes.labels.values[n]] ?? 0xffffffff
  }

  /** Which voxel a place (RAS mm) lies in: [slice, row, column]. */
  function voxelAt (mm) {
    const place = [-mm[0], -mm[1], mm[2], 1]
    const size = [depth, rows, columns]
    return settings.inverse.map((row, axis) => {
      const exact = row.reduce((sum, factor, n) => sum + factor * place[n], 0)
      return Math.min(size[axis] - 1, Math.max(0, Math.round(exact)))
    })
  }

  function number (value) {
    return value.toFixed(Math.abs(value) >= 10 ? 0 : Math.abs(value) >= 1 ? 1 : 2)
  }

  /** Say where the crosshair is and what is there. */
  function tell () {
    const mm = viewer.frac2mm(viewer.scene.crosshairPos)
    const [k, j, i] = voxelAt(mm)
    const at = (k * rows + j) * columns + i
    const value = (name) => volumes[name].slope * volumes[name].values[at] + volumes[name].intercept
    const words = [`Slice ${k} (0 to ${depth - 1})`, `CT ${value('ct').toFixed(0)} HU`]
    if (volumes.reconstruction) words.push(`reconstruction ${value('reconstruction').toFixed(0)} HU`)
    words.push(`map ${number(value('map'))} ${document.getElementById('v-unit').textContent}`)
    const region = settings.regions.find((one) => one.label === volumes.labels.values[at])
    if (region) words.push(region.name)
    words.push(`LPS ${[-mm[0], -mm[1], mm[2]].map((x) => x.toFixed(1)).join(', ')} mm`)
    byId('v-place').textContent = words.join(' · ')
    canvas.dataset.slice = k
    for (const row of document.querySelectorAll('tr[data-region]')) {
      row.classList.toggle('shown', Boolean(region) && row.dataset.region === String(region.label))
    }
  }

  /** Crosshair to the strongest voxel of a region; false if there is no such region. */
  function goTo (label) {
    const region = settings.regions.find((one) => one.label === label)
    if (!region) return false
    const [x, y, z] = region.place
    viewer.scene.crosshairPos = viewer.mm2frac([-x, -y, z])
    viewer.drawScene()
    tell()
    return true
  }

  function move (i, j, k) {
    viewer.moveCrosshairInVox(i, j, k)
    tell()
  }

  /** Bring the pictures into agreement with the controls. */
  function apply () {
    const [centre, width] = [Number(byId('v-centre').value), Number(byId('v-width').value)]
    for (const { image } of Object.values(volumes)) {
      if (!image) continue
      image.cal_min = centre - width / 2
      image.cal_max = centre + width / 2
    }
    if (volumes.reconstruction) volumes.reconstruction.image.opacity = byId('v-base').value === 'ct' ? 0 : 1
    const opacity = Number(byId('v-opacity').value)
    const threshold = settings.low + Number(byId('v-threshold').value) * (settings.high - settings.low)
    paint(threshold, byId('v-map').checked ? opacity : 0, byId('v-outlines').checked)
    byId('v-centre-hu').textContent = centre
    byId('v-width-hu').textContent = width
    byId('v-opacity-now').textContent = Math.round(100 * opacity) + ' %'
    byId('v-threshold-now').textContent = number(threshold)
  }

  /** The same with the next frame: a dragged slider asks more often than pictures can be drawn. */
  function applySoon () {
    cancelAnimationFrame(due)
    due = requestAnimationFrame(() => { apply(); viewer.updateGLVolume() })
  }

  function chooseWindow (n) {
    const [, low, high] = WINDOWS[n]
    byId('v-centre').value = (low + high) / 2
    byId('v-width').value = high - low
  }

  function toggle (id) {
    byId(id).checked = !byId(id).checked
    applySoon()
  }

  function onKey (event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return
    if (/^(INPUT|SELECT)$/.test(event.target.tagName) && !/^[1-9rRoOcC]$/.test(event.key)) return
    if (event.target.tagName === 'SELECT') return // its own letters choose
    const steps = {
      ArrowUp: event.shiftKey ? [0, 1, 0] : [0, 0, 1],
      ArrowDown: event.shiftKey ? [0, -1, 0] : [0, 0, -1],
      ArrowLeft: [1, 0, 0],
      ArrowRight: [-1, 0, 0],
      PageUp: [0, 0, 5],
      PageDown: [0, 0, -5]
    }
    const base = byId('v-base')
    if (steps[event.key]) move(...steps[event.key])
    else if (/^r$/i.test(event.key)) toggle('v-map')
    else if (/^o$/i.test(event.key)) toggle('v-outlines')
    else if (/^c$/i.test(event.key)) {
      base.selectedIndex = (base.selectedIndex + 1) % base.options.length
      applySoon()
    } else if (!/^[1-9]$/.test(event.key) || !goTo(Number(event.key))) {
      if (event.target === canvas && event.key !== 'Tab') event.stopPropagation() // NiiVue's own keys
      return
    }
    event.preventDefault()
    event.stopPropagation()
  }

  /** Once somebody has clicked into it, the wheel walks through the plane under the pointer; with Ctrl NiiVue zooms. */
  function onWheel (event) {
    if (document.activeElement === canvas && event.ctrlKey) return
    event.stopImmediatePropagation()
    if (document.activeElement !== canvas) return // the page scrolls
    event.preventDefault()
    turned += event.deltaY
    if (Math.abs(turned) < 40) return // touch pads send many small steps
    const step = -Math.sign(turned)
    turned = 0
    const [x, y] = [event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight]
    const tile = layout().find(([, [left, top, width, height]]) => x >= left && x < left + width && y >= top && y < top + height)
    move(...[[0, 0, step], [0, step, 0], [step, 0, 0]][tile ? tile[0] : 0])
  }

  /** Rows of the table go to their region; a name's link to a picture does so too. */
  function wireTable () {
    for (const row of document.querySelectorAll('tr[data-region]')) {
      row.closest('table').classList.add('jumps')
      const go = (event) => {
        if (!goTo(Number(row.dataset.region))) return
        event.preventDefault()
        section.scrollIntoView({ block: 'start', behavior: 'instant' })
        canvas.focus({ preventScroll: true })
      }
      row.addEventListener('click', go)
      if (row.querySelector('a')) continue // the keyboard follows the link
      row.tabIndex = 0
      row.addEventListener('keydown', (event) => { if (event.key === 'Enter') go(event) })
    }
  }

  function wireControls () {
    const choice = byId('v-window')
    WINDOWS.forEach(([name], n) => choice.append(new Option(name, n)))
    choice.append(new Option('Own', ''))
    choice.lastElementChild.hidden = true
    choice.addEventListener('input', () => { chooseWindow(choice.value); applySoon() })
    for (const id of ['v-centre', 'v-width']) {
      byId(id).addEventListener('input', () => { choice.value = ''; applySoon() })
    }
    for (const id of ['v-base', 'v-opacity', 'v-threshold', 'v-map', 'v-outlines']) {
      byId(id).addEventListener('input', applySoon)
    }
    section.addEventListener('keydown', onKey, true)
    canvas.addEventListener('pointerdown', () => canvas.focus({ preventScroll: true }))
    canvas.addEventListener('wheel', onWheel, { capture: true, passive: false })
    chooseWindow(0)
  }

  function layout () {
    return LAYOUTS[canvas.clientWidth < 640 ? 'narrow' : 'wide']
  }

  function lay () {
    viewer.setCustomLayout(layout().map(([sliceType, position]) => ({ sliceType, position })))
  }

  async function start () {
    await loadLibrary()
    wireControls()
    viewer = new niivue.Niivue({
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      showAllOrientationMarkers: true,
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.35, 0.75, 1, 0.8],
      crosshairWidth: 0.8,
      crosshairWidthUnit: 'mm',
      crosshairGap: 14,
      fontColor: [0.96, 0.78, 0.3, 1],
      dragMode: niivue.DRAG_MODE.pan,
      dragAndDropEnabled: false,
      isColorbar: false,
      scrollRequiresFocus: true,
      viewModeHotKey: '',
      clipPlaneHotKey: '',
      cycleClipPlaneHotKey: '',
      loadingText: '',
      logLevel: 'silent'
    })
    viewer.addColormap('klip-grey', { R: [0, 255], G: [0, 255], B: [0, 255], A: [255, 255], I: [0, 255], min: 0, max: 0 })
    for (const name of ['ct', 'reconstruction', 'map', 'labels']) await loadVolume(name)
    section.hidden = false // a canvas without size cannot be drawn on
    await viewer.attachToCanvas(canvas, true)
    volumes.ct.image = await grey('ct', 1)
    if (volumes.reconstruction) volumes.reconstruction.image = await grey('reconstruction', 0)
    volumes.labels.rims = rims()
    overlay = await emptyOverlay()
    apply()
    viewer.volumes = Object.values(volumes).flatMap(({ image }) => image ?? []) // drawn with the overlay
    viewer.addVolume(overlay)
    viewer.onLocationChange = tell
    lay()
    new ResizeObserver(lay).observe(canvas)
    wireTable()
    if (!settings.regions.length || !goTo(settings.regions[0].label)) tell()
    section.dataset.ready = 'true'
  }

  start().catch((error) => { // the pictures below say the same
    section.hidden = true
    console.warn('The viewer is not shown:', error)
  })
})()
